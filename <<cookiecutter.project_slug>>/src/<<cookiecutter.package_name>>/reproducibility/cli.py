"""The command `repro`: runs recorded, judged, compared and served. Imports lazily, so that help is there at once."""

import argparse
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# argparse, although an experiment's command is click's: importing click takes three times as long as starting Python.

_ABOUT = """\
Runs that can be made again.

Every command ends with status 0 if what it asks holds, 1 if it does not, 2 if it could not be told."""


def main(argv: "Sequence[str] | None" = None) -> None:
    """Run the command in *argv*, by default the process's. What speaks against it is one message, never a traceback."""
    parser = argparse.ArgumentParser(
        "repro",
        usage="repro [-h] COMMAND ...",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # argparse forgets its own indent when it measures commands: this name is long enough for all to fit in one line.
    commands = parser.add_subparsers(prog="repro", metavar="COMMAND ...", required=True)

    command = commands.add_parser("train", help="run an experiment and validate its run")
    command.add_argument("config", help="a file in configs/")
    command.add_argument(
        "options",
        nargs=argparse.REMAINDER,
        help="--container [--snapshot] [--base IMAGE] to run in the project's image, "
        "and those of scripts/train.py: --set model.max_depth=3",
    )
    command.set_defaults(run=_train)

    command = commands.add_parser("image", help="build a container image of the commit that trains it anywhere")
    command.add_argument("--snapshot", action="store_true", help="take uncommitted changes along, as a patch")
    command.add_argument("--base", metavar="IMAGE", help="start from another image, for GPUs for instance")
    command.set_defaults(run=_image)

    command = commands.add_parser("bake", help="record which code an image holds: a step of the Dockerfile")
    command.set_defaults(run=_bake)

    command = commands.add_parser("validate", help="check a recorded run by its id: tags, params, evidence, digests")
    command.add_argument("run_id", help="a run's id, the beginning of one, or last, last~1 ...")
    command.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    command.set_defaults(run=_validate)

    command = commands.add_parser("reproduce", help="make a recorded run again from its id, and compare the two")
    command.add_argument("run_id", help="a run's id, the beginning of one, or last, last~1 ...")
    command.add_argument("--container", action="store_true", help="in the image that the run was made in")
    command.add_argument("--data", metavar="PATH", help="where the run's data is now, if not where its config says")
    command.add_argument(
        "--force", action="store_true", help="go on with an altered or unfinished run, or on another Python"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    command.set_defaults(run=_reproduce)

    command = commands.add_parser("promote", help="register the model of a run that was made again, under an alias")
    command.add_argument("run_id", help="a run's id, the beginning of one, or last, last~1 ...")
    command.add_argument("--model", required=True, metavar="NAME", help="the registered model")
    command.add_argument("--alias", required=True, metavar="ALIAS", help="what points to it then, champion for one")
    command.add_argument("--json", action="store_true", help="print one JSON object instead of a sentence")
    command.set_defaults(run=_promote)

    command = commands.add_parser("checklist", help="the review checklist of this commit, item by item")
    command.add_argument(
        "--run", metavar="RUN_ID", dest="reference", help="the run shown for it; by default its newest finished one"
    )
    command.add_argument("--base", metavar="REF", help="the branch that it goes to; by default that of origin")
    command.add_argument("--event", metavar="FILE", help="take run and base from a pull request: GITHUB_EVENT_PATH")
    command.add_argument("--prove", action="store_true", help="make the run again if nobody has, to see the seed work")
    command.add_argument("--svg", metavar="FILE", help="also draw it as a picture")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    form.add_argument("--markdown", action="store_true", help="print it as GitHub shows it in a summary or comment")
    command.set_defaults(run=_checklist)

    command = commands.add_parser("audit", help="say of every run whether it could be made again, and why not")
    command.add_argument("experiment", nargs="?", help="its name; all experiments by default")
    command.add_argument("--close-dead", action="store_true", help="end runs whose process is gone from this machine")
    command.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    command.set_defaults(run=_audit)

    command = commands.add_parser("serve", help="run a tracking server that refuses what could not be made again")
    command.add_argument("--embedded", action="store_true", help="on the project's own database, for this machine")
    command.add_argument("--host", default="127.0.0.1", help="where it listens; only this machine by default")
    command.add_argument("--port", type=int, default=5000)
    command.set_defaults(run=_serve)

    command = commands.add_parser("server", help="bring the team's tracking server up, take it down, back it up")
    command.set_defaults(run=_server_up)
    actions = command.add_subparsers(metavar="ACTION")
    action = actions.add_parser("up", help="build and start it, and wait until it answers; this is the default")
    action.set_defaults(run=_server_up)
    action = actions.add_parser("down", help="stop it; what it holds stays")
    action.set_defaults(run=_server_down)
    action = actions.add_parser("backup", help="save its database and files into a new folder")
    action.add_argument("folder", metavar="DIR")
    action.set_defaults(run=_server_backup)
    action = actions.add_parser("restore", help="make the running server hold what a backup does")
    action.add_argument("folder", metavar="DIR")
    action.add_argument("--replace", action="store_true", help="also if it holds something, which is then gone")
    action.set_defaults(run=_server_restore)

    command = commands.add_parser("diff", help="why two recorded runs differ, and in what")
    command.add_argument("a", metavar="A", help="a run's id, the beginning of one, or last, last~1 ...")
    command.add_argument("b", metavar="B", help="the run to compare it with")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    form.add_argument("--code", action="store_true", help="print the patch between their code instead")
    command.add_argument(
        "--results", action="store_true", help="only whether the same came out, within the tolerance of the policy"
    )
    command.add_argument("--plot", metavar="FILE.png", help="draw the metrics that differ most, step by step")
    command.add_argument("--html", metavar="FILE", help="write all of it as one page that needs nothing else")
    command.set_defaults(run=_diff)

    arguments = parser.parse_args(argv)
    try:
        from click import ClickException

        try:
            arguments.run(arguments)
        except ClickException as error:
            error.show()
            sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _train(arguments: argparse.Namespace) -> None:
    import runpy

    from .progress import say
    from .project import PROJECT_ROOT

    if "--container" in arguments.options:
        from . import container

        container.train(arguments.config, arguments.options)
    script = PROJECT_ROOT / "scripts" / "train.py"
    say("loading the experiment ...")
    sys.argv = [str(script), "--config", arguments.config, *arguments.options]
    sys.path.insert(0, str(script.parent))  # as Python does for a script that it is given
    runpy.run_path(str(script), run_name="__main__")


def _validate(arguments: argparse.Namespace) -> None:
    from . import command, validation

    result = validation.validate(arguments.run_id)
    command.show(result, arguments.json)
    sys.exit(0 if result.holds else 1)


def _reproduce(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from .reproduction import reproduce
    from .verdict_report import show

    data = Path(arguments.data).absolute() if arguments.data else None
    verdict = reproduce(arguments.run_id, force=arguments.force, in_container=arguments.container, data=data)
    show(verdict, arguments.json)
    sys.exit(0 if verdict.holds else 1)


def _promote(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from .promotion import promote

    done = promote(arguments.run_id, arguments.model, arguments.alias)
    if arguments.json:
        import json

        print(json.dumps(asdict(done), indent=2))
        return
    print(f"{done.alias} of {done.model} is version {done.version}: run {done.run_id}, made again and {done.verdict}")


def _checklist(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from .checklist import report
    from .checklist.checklist import check

    event = Path(arguments.event) if arguments.event is not None else None
    found = check(arguments.reference, event, arguments.base, prove=arguments.prove)
    report.show(found, "json" if arguments.json else "markdown" if arguments.markdown else "table")
    if arguments.svg:
        report.draw(found, Path(arguments.svg))
    sys.exit(found.exit_status)


def _audit(arguments: argparse.Namespace) -> None:
    from . import audit, audit_report

    result = audit.audit(arguments.experiment, close_dead=arguments.close_dead)
    audit_report.show(result, arguments.json)
    sys.exit(result.exit_status)


def _serve(arguments: argparse.Namespace) -> None:
    from .server import serve

    serve(arguments.host, arguments.port, embedded=arguments.embedded)


def _diff(arguments: argparse.Namespace) -> None:
    import json

    from . import difference_table
    from .diff import diff, results
    from .verdict_report import COMPARED, show
    from .violation import Refused, Violation

    if arguments.results:
        if arguments.code or arguments.plot or arguments.html:
            problem = "it looks at what came out only, and draws nothing"
            raise Refused([Violation("--results", problem, "leave --code, --plot and --html out")])
        verdict = results(arguments.a, arguments.b)
        show(verdict, arguments.json, COMPARED)
        sys.exit(0 if verdict.holds else 1)
    found = diff(arguments.a, arguments.b, with_patch=arguments.code or bool(arguments.html))
    if arguments.json:
        print(json.dumps(difference_table.as_json(found), indent=2, allow_nan=False))
    elif arguments.code:
        difference_table.show_code(found)
    else:
        difference_table.show(found, (arguments.a, arguments.b))
    if arguments.html:
        from .difference_page import write

        write(found, arguments.html)
    if arguments.plot:
        from .plot import draw

        draw(found, arguments.plot)
    sys.exit(found.exit_status)


def _image(arguments: argparse.Namespace) -> None:
    from .build import build
    from .engine import find

    name, image_id = build(find(), snapshot=arguments.snapshot, base=arguments.base)
    print(f"{name} is ready: {image_id}")


def _bake(_: argparse.Namespace) -> None:
    from .image import bake
    from .project import PROJECT_ROOT

    bake(PROJECT_ROOT)


def _server_up(_: argparse.Namespace) -> None:
    from . import deployment

    settings = deployment.up()
    print(
        f"The server runs at {settings.url}\n"
        f"Its admin is {settings.admin!r}, with the password SERVER_ADMIN_PASSWORD in .env; the admin gives everyone\n"
        f"else a login at {settings.url}/signup\n"
        "To record there, set tracking.uri in configs/base.yaml (for one shell: MLFLOW_TRACKING_URI) to that address,\n"
        "and in the environment MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a login."
    )


def _server_down(_: argparse.Namespace) -> None:
    from . import deployment

    deployment.down()
    print("The server is down. What it holds is kept, until `nox -s server` starts it again.")


def _server_backup(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from . import backup

    backup.save(Path(arguments.folder))
    print(f"The server is saved in {arguments.folder}. To bring it back: nox -s server -- restore {arguments.folder}")


def _server_restore(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from . import backup

    backup.restore(Path(arguments.folder), replace=arguments.replace)
    print(
        "The server holds what the backup does. The admin's password is the one in .env, all others are the backup's."
    )
