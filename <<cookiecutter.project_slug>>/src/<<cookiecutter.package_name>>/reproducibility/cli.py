"""The command `repro`: train, validate. Imports lazily, so that help is there at once."""

import argparse
import sys

# argparse, although an experiment's command is click's: importing click takes three times as long as starting Python.

_ABOUT = """\
Runs that can be made again.

Every command ends with status 0 if what it asks holds, 1 if it does not, 2 if it could not be told."""


def main() -> None:
    """Run the command that was asked for. What speaks against it is one message and status 2, never a traceback."""
    parser = argparse.ArgumentParser("repro", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    command = commands.add_parser("train", help="run an experiment and validate its run")
    command.add_argument("config", help="a file in configs/")
    command.add_argument("options", nargs=argparse.REMAINDER, help="as for scripts/train.py: --set model.max_depth=3")
    command.set_defaults(run=_train)

    command = commands.add_parser("validate", help="check a recorded run by its id: tags, params, evidence, digests")
    command.add_argument("run_id")
    command.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    command.set_defaults(run=_validate)

    arguments = parser.parse_args()
    from click import ClickException

    try:
        arguments.run(arguments)
    except ClickException as error:
        error.show()
        sys.exit(error.exit_code)


def _train(arguments: argparse.Namespace) -> None:
    import runpy

    from .progress import say
    from .provenance import PROJECT_ROOT

    script = str(PROJECT_ROOT / "scripts" / "train.py")
    say("loading the experiment ...")
    sys.argv = [script, "--config", arguments.config, *arguments.options]
    runpy.run_path(script, run_name="__main__")


def _validate(arguments: argparse.Namespace) -> None:
    from . import command, validation

    result = validation.validate(arguments.run_id)
    command.show(result, arguments.json)
    sys.exit(0 if result.holds else 1)
