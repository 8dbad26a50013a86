"""The command `repro`: train, validate, reproduce and compare runs, and serve the store that records them.

Each command imports what it needs when it runs, so that `repro --help` answers at once.
"""

import os
import sys
from difflib import get_close_matches
from pathlib import Path

import click

from .garbage import unsearched

_RUN = "RUN_ID is the id of a run, the beginning of an id, or last, last~1 ... By default, it is last."
_EXPERIMENT = "configs/experiment.yaml"
# What `repro` alone says: the first things to do.
_FIRST = """\
repro train              train the sample experiment, and check its run
repro validate           check your newest run again; every command takes an id, too
repro reproduce          train it once more from what it recorded, and compare
repro diff last~1 last   show why your last two runs differ
repro --help             everything else
"""
_JSON = "Print one JSON object instead of a table."


class _InOrder(click.Group):
    """Lists its commands in the order of this file, which is the order in which a user needs them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, arguments)
        except click.UsageError as error:
            if near := get_close_matches(arguments[0], self.commands):
                error.message += f" Did you mean {near[0]!r}?"
            raise


@click.group(
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    invoke_without_command=True,
)
@click.pass_context
def repro(context: click.Context) -> None:
    """Reproducible runs.

    Every command ends with status 0 if what it checks holds, 1 if it does not hold, 2 if it could not check.
    """
    if context.invoked_subcommand is None:
        click.echo(_FIRST, nl=False)


@repro.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[CONFIG] [OPTIONS]")
def train(arguments: tuple[str, ...]) -> None:
    """Run an experiment, and validate its run.

    The same as: python scripts/train.py --config CONFIG [OPTIONS]. By default, CONFIG is configs/experiment.yaml.
    """
    if arguments[:1] in (("-h",), ("--help",)):
        _train([*arguments])
    elif arguments and not arguments[0].startswith("-"):
        _train(["--config", *arguments])
    else:
        _train(["--config", _EXPERIMENT, *arguments])


@repro.command()
@click.argument("config")
@click.option("--jobs", type=click.IntRange(min=1), help="How many trials run at a time. By default 1.")
@click.option("--scheduler", metavar="ADDRESS", help="Let the workers of a Dask scheduler make them: tcp://host:8786.")
@click.option("--resume", is_flag=True, help="Go on with the last sweep of CONFIG: only what has not finished is made.")
@click.option("--html", metavar="FILE", help="Also write the results, with charts, into one HTML file.")
@click.option("--json", "as_json", is_flag=True, help=_JSON)
def sweep(config: str, jobs: int | None, scheduler: str | None, resume: bool, html: str | None, as_json: bool) -> None:
    """Make many runs of an experiment, with other values each.

    CONFIG says which experiment and which values, as configs/sweep.yaml does. Status 0: every trial has a finished run.
    1: some have none. 2: nothing was started. 130: after Ctrl-C. After 1 and 130, --resume goes on.
    """
    given = {"--jobs": jobs and str(jobs), "--scheduler": scheduler, "--html": html}
    options = [part for name, value in given.items() if value is not None for part in (name, value)]
    options += ["--resume"] * resume + ["--json"] * as_json
    _train(["--config", config, "--sweep", *options])


def _train(arguments: list[str]) -> None:
    """Start scripts/train.py with *arguments*, in this process."""
    import runpy

    from .display import say
    from .errors import refuse
    from .project import PROJECT_ROOT

    script = PROJECT_ROOT / "scripts" / "train.py"
    if not script.is_file():
        refuse("scripts/train.py", "the project has no such script", "start the script of the experiment with python")
    say("loading the experiment ...")
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))  # as `python scripts/train.py` does
    try:
        runpy.run_path(str(script), run_name="__main__")
    except click.ClickException:
        raise
    except Exception:  # of the user's own code: it needs its traceback, and the training failed
        sys.excepthook(*sys.exc_info())
        sys.exit(1)


@repro.command(epilog=_RUN)
@click.argument("run_id", default="last")
@click.option("--json", "as_json", is_flag=True, help=_JSON)
def validate(run_id: str, as_json: bool) -> None:
    """Check a recorded run: its tags, params, evidence and digests."""
    from .tracking.validation import show_validation, validate

    result = validate(run_id)
    show_validation(result, as_json)
    sys.exit(0 if result.holds else 1)


@repro.command()
@click.argument("run_id", required=False)
@click.option("--status", is_flag=True, help="Only list what waits. Status 1: something does.")
@click.option("--dead", is_flag=True, help="The machine or container that recorded RUN_ID is gone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def sync(run_id: str | None, status: bool, dead: bool, as_json: bool) -> None:
    """Ship what runs recorded on this machine while their server was away.

    RUN_ID is the id of a run, or its beginning. By default, everything is shipped. A run whose process was killed is
    ended as FAILED.
    """
    from .delivery import sync
    from .errors import refuse
    from .tracking.store import tracking_uri, without_login

    without_login(tracking_uri())  # which may name the login of the server
    if status:
        runs = sync.waiting_runs()
        sync.show_waiting(runs, as_json)
        sys.exit(1 if runs else 0)
    if dead and run_id is None:
        refuse("--dead", "it does not say which run", "name the run: repro sync RUN_ID --dead")
    outcomes = sync.sync(run_id, dead=dead)
    sync.show_outcomes(outcomes, as_json)
    sys.exit(sync.exit_status(outcomes))


@repro.command()
@click.option("--output", metavar="FILE", help="Write data=here or data=absent for a workflow; status 0 for both.")
def fetch(output: str | None) -> None:
    """Fetch the data that is not in git, as data_source in configs/base.yaml says.

    Status 1: this machine has no login for it.
    """
    from .provenance import data_source

    fetched = data_source.fetch()
    if output is None or not fetched.here:  # the page of the workflow shows only what is missing
        click.echo(fetched.message)
    if output is not None:
        data_source.tell_step(fetched, Path(output))
    sys.exit(0 if fetched.here or output is not None else 1)


@repro.command(epilog=_RUN)
@click.argument("run_id", default="last")
@click.option("--container", is_flag=True, help="Run it in the image of the original run.")
@click.option("--data", metavar="PATH", help="The data of the run, if its config names another place.")
@click.option("--force", is_flag=True, help="Also for an altered or unfinished run, or on another Python.")
@click.option("--json", "as_json", is_flag=True, help=_JSON)
def reproduce(run_id: str, container: bool, data: str | None, force: bool, as_json: bool) -> None:
    """Reproduce a recorded run from its id, and compare the two."""
    from .comparison.verdict import show_verdict
    from .reproduce.reproduce import reproduce

    where = {}
    if container:
        from .container.run import reproduction_process

        where = {"launch": reproduction_process}
    verdict = reproduce(run_id, force=force, data=Path(data).absolute() if data else None, **where)
    show_verdict(verdict, as_json)
    sys.exit(0 if verdict.holds else 1)


@repro.command()
@click.argument("a")
@click.argument("b")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--code", is_flag=True, help="Print the patch between their code instead.")
@click.option("--results", is_flag=True, help="Compare the results only, within the tolerance of the policy.")
@click.option("--html", metavar="FILE", help="Also write everything, with charts of the metrics, into one HTML file.")
@unsearched()  # it may read millions of values, and ends soon
def diff(a: str, b: str, as_json: bool, code: bool, results: bool, html: str | None) -> None:
    """Show in what two recorded runs differ, and why.

    A and B are runs: an id, the beginning of an id, or last, last~1 ...
    """
    from .comparison import table
    from .comparison.diff import diff
    from .comparison.diff import results as compare_results
    from .comparison.verdict import COMPARED, show_verdict
    from .errors import refuse

    if as_json and code:
        refuse("--code", "a patch is not JSON", "leave --json or --code out")
    if results:
        if code or html:
            refuse("--results", "it compares results only", "leave --code and --html out")
        verdict = compare_results(a, b)
        show_verdict(verdict, as_json, COMPARED)
        sys.exit(0 if verdict.holds else 1)
    found = diff(a, b, with_patch=code or bool(html))
    if code:
        table.show_code(found)
    else:
        table.show_difference(found, (a, b), as_json)
    if html:
        from .comparison.page import write

        write(found, html)
        click.echo(f"wrote {html}: open {Path(html).resolve().as_uri()}", err=True)
    sys.exit(found.exit_status)


@repro.command(epilog=_RUN.partition(" By default")[0])
@click.argument("run_id")
@click.option("--model", required=True, metavar="NAME", help="The registered model.")
@click.option("--alias", required=True, help="The alias that then points to the model, for example champion.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a sentence.")
def promote(run_id: str, model: str, alias: str, as_json: bool) -> None:
    """Let an alias point to the model of a reproduced run."""
    from .reproduce.promote import promote, show_promotion

    show_promotion(promote(run_id, model, alias), as_json)


@repro.command()
@click.option(
    "--run", "reference", metavar="RUN_ID", help="The run to review; by default the newest run of the commit."
)
@click.option("--base", metavar="REF", help="The branch to merge into; by default the default branch of origin.")
@click.option("--event", metavar="FILE", help="Take run and base from a pull request: the file GITHUB_EVENT_PATH.")
@click.option("--merge-request", is_flag=True, help="Take run and base from GitLab's variables of a merge request.")
@click.option("--prove", is_flag=True, help="Reproduce the run first, if it has no reproduction.")
@click.option("--svg", metavar="FILE", help="Also draw the checklist as a picture.")
@click.option("--json", "form", flag_value="json", help=_JSON)
@click.option("--markdown", "form", flag_value="markdown", help="Print Markdown, for a summary or comment on GitHub.")
def checklist(
    reference: str | None,
    base: str | None,
    event: str | None,
    merge_request: bool,
    prove: bool,
    svg: str | None,
    form: str | None,
) -> None:
    """Answer the review checklist of this commit, item by item."""
    from .checklist import report
    from .checklist.checklist import check
    from .checklist.pull_request import read_event, read_merge_request

    request = read_event(Path(event)) if event is not None else None
    if merge_request:
        request = read_merge_request(os.environ)
    found = check(reference, request, base, prove=prove)
    report.show_checklist(found, form or "table")
    if svg:
        report.draw(found, Path(svg))
    sys.exit(found.exit_status)


@repro.command()
@click.argument("experiment", required=False)
@click.option("--close-dead", is_flag=True, help="End runs that no process on this machine records any more.")
@click.option("--json", "as_json", is_flag=True, help=_JSON)
def audit(experiment: str | None, close_dead: bool, as_json: bool) -> None:
    """Tell for every run whether it could be reproduced, and why not.

    EXPERIMENT is the name of an experiment. By default, all of them are audited.

    Status 0: every finished run complies, no run died, and every protected alias can be relied on. Runs that ended
    without a result are listed and change no status. Status 1: something does not comply. 2: something is unknown.
    """
    from .checklist.audit import audit, show_audit

    result = audit(experiment, close_dead=close_dead)
    show_audit(result, as_json)
    sys.exit(result.exit_status)


@repro.command()
@click.option("--snapshot", is_flag=True, help="Include uncommitted changes, as a patch.")
@click.option("--base", metavar="IMAGE", help="Start from another image, for example one for GPUs.")
@click.option("--packages", metavar="FOLDER", help="Keep the image of the locked packages in this folder, for CI.")
def image(snapshot: bool, base: str | None, packages: str | None) -> None:
    """Build a container image of the commit, to train anywhere."""
    from .container.engine import find_engine
    from .container.image import build

    folder = Path(packages).absolute() if packages is not None else None
    name, image_id = build(find_engine(), snapshot=snapshot, base=base, packages=folder)
    click.echo(f"{name} is ready: {image_id}")


@repro.command()
@click.option("--check", is_flag=True, help="Only tell what is new. Status 1: something is.")
@click.option("--template", metavar="ADDRESS", help="The template, if not the one that pyproject.toml notes.")
@click.option("--from", "since", metavar="COMMIT", help="Its commit that the project comes from, if none is noted.")
@click.option("--to", metavar="REF", help="A commit, tag or branch of the template; by default the newest commit.")
@click.option("--offer", metavar="FOLDER", help="Merge, and write branch and text of a pull request into FOLDER.")
@click.option("--open", "offered", metavar="FOLDER", help="Only open the pull request that FOLDER offers, on GitHub.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of sentences.")
def update(
    check: bool,
    template: str | None,
    since: str | None,
    to: str | None,
    offer: str | None,
    offered: str | None,
    as_json: bool,
) -> None:
    """Merge what the template has changed into a new branch.

    This runs code of the template. Status 0: merged, or nothing to do. 1: there are conflicts to resolve.
    """
    from .update import pull_request
    from .update.report import show_update
    from .update.update import update

    if offered:
        click.echo(pull_request.open_pull_request(Path(offered)))
        return
    found = update(template, since, to, check=check)
    show_update(found, as_json)
    if offer and not check:
        click.echo(pull_request.offer(found, Path(offer)), err=True)
        return
    sys.exit(1 if (check and found.files) or (found.merge and found.merge.conflicts) else 0)


@repro.command()
@click.option("--port", type=int, default=5000, show_default=True)
def ui(port: int) -> None:
    """Look at the runs in a browser.

    The page of the newest run is opened. Runs in a file are served for this, on this machine only, until Ctrl-C.
    """
    from .gate.ui import show

    show(port)


@repro.command(hidden=True)
def bake() -> None:
    """Record in an image which code it holds: a step of the Dockerfile."""
    from .container.image import bake
    from .project import PROJECT_ROOT

    bake(PROJECT_ROOT)


@repro.group(cls=_InOrder, invoke_without_command=True)
@click.pass_context
def server(context: click.Context) -> None:
    """Start, stop and back up the team's tracking server.

    Without a command: up.
    """
    if context.invoked_subcommand is None:
        context.invoke(up)


@server.command()
def up() -> None:
    """Start the server in containers, and wait until it answers."""
    from .container import stack

    settings = stack.up()
    click.echo(
        f"The server runs at {settings.url}\n"
        f"Its admin is {settings.admin!r}, with the password SERVER_ADMIN_PASSWORD in .env. The admin makes the\n"
        f"other logins at {settings.url}/signup, and lets them record: docs/server.md says how\n"
        "To record there, set tracking.uri in configs/base.yaml (for one shell: MLFLOW_TRACKING_URI) to that address,\n"
        "and in the environment MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a login."
    )


@server.command()
def down() -> None:
    """Stop the server; what it holds stays."""
    from .container import stack

    stack.down()
    click.echo("The server is down. What it holds is kept, until `nox -s server` starts it again.")


@server.command()
@click.argument("folder")
def backup(folder: str) -> None:
    """Save the server's database and files into a new FOLDER."""
    from .container import backup

    backup.save(Path(folder))
    click.echo(f"The server is saved in {folder}. To bring it back: nox -s server -- restore {folder}")


@server.command()
@click.argument("folder")
@click.option("--replace", is_flag=True, help="Also if the server holds something: delete that first.")
def restore(folder: str, replace: bool) -> None:
    """Bring a backup from FOLDER back into the running server."""
    from .container import backup

    backup.restore(Path(folder), replace=replace)
    click.echo(
        "The server holds what the backup does. The admin's password is the one in .env, all others are the backup's."
    )


@server.command("run")
@click.option("--embedded", is_flag=True, help="Serve the project's own database, on this machine only.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=int, default=5000, show_default=True)
def run(embedded: bool, host: str, port: int) -> None:
    """Run a tracking server, with the gate, in this process."""
    from .gate.server import serve

    serve(host, port, embedded=embedded)


def main(argv: list[str] | None = None) -> None:
    """Run the command in *argv*, by default the arguments of this process.

    See `ending.end` for how a command ends that raises something.
    """
    from .display import let_any_text_pass, require_working_directory
    from .ending import end, end_quickly

    let_any_text_pass()
    end_quickly()
    try:
        require_working_directory()
        sys.exit(repro.main(argv, prog_name="repro", standalone_mode=False))
    except Exception as error:
        end(error)
