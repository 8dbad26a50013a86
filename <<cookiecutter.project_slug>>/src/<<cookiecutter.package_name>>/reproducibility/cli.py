"""The command `repro`: train, validate. Imports lazily, so that help is there at once."""

import runpy
import sys

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Runs that can be made again.

    Every command ends with status 0 if what it asks holds, 1 if it does not, 2 if it could not be told.
    """


@main.command(short_help="Run an experiment and validate it.", context_settings={"ignore_unknown_options": True})
@click.argument("config")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def train(config: str, options: tuple[str, ...]) -> None:
    """Run the experiment of CONFIG, a file in configs/, and validate what it recorded.

    The same as `python scripts/train.py --config CONFIG`, which explains the other options.
    """
    from .progress import say
    from .provenance import PROJECT_ROOT

    script = str(PROJECT_ROOT / "scripts" / "train.py")
    say("loading the experiment ...")
    sys.argv = [script, "--config", config, *options]
    runpy.run_path(script, run_name="__main__")


@main.command(short_help="Check a recorded run by its id.")
@click.argument("run_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def validate(run_id: str, as_json: bool) -> None:
    """Check a recorded run: its tags, params, evidence and digests, and that it finished."""
    from . import command, validation

    result = validation.validate(run_id)
    command.show(result, as_json)
    raise SystemExit(0 if result.holds else 1)
