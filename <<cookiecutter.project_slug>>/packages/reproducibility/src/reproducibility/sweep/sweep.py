"""A sweep from its start to its end: `repro sweep` calls this through the experiment's own script."""

from contextlib import ExitStack
from pathlib import Path

import click

from ..config.loader import Config
from ..display import say, shown_path
from ..errors import Refused, RunIncomplete, Violation, refuse
from ..project import config_file
from ..provenance.expected import UNKNOWN, facts
from ..provenance.gather import gather
from ..provenance.start import entry_point
from ..secrets import without_credentials
from ..tags import SWEEP_TAG
from ..tracking.run import tracked_run
from ..tracking.store import OFFLINE_VARIABLE, connect, is_offline, tracking_uri, without_login
from . import report
from .driver import Driver, Engine, Tally, order_for
from .local import Local
from .records import Records
from .settings import Settings, read_settings
from .state import State, begin
from .state import resume as resumed
from .study import Study, require_optuna


def run_sweep(
    path: Path,
    model: type[Config],
    *,
    jobs: int | None,
    scheduler: str | None,
    resume: bool,
    html: str | None,
    as_json: bool,
) -> int:
    """Make the trials of the sweep in the file *path*, show the results, and return the exit status.

    0: every trial has a finished run. 1: some have none. 130: after Ctrl-C. Raises Refused before anything is started.
    """
    settings = read_settings(config_file(path), model)
    script = _script()
    require_optuna()
    say("looking at the commit, the data and the environment ...")
    if is_offline():
        refuse(OFFLINE_VARIABLE, "a sweep looks into its store after each trial", "unset it, and sweep with the server")
    uri = without_login(tracking_uri())
    expected = _facts(settings)
    state = (resumed if resume else begin)(settings, expected, without_credentials(uri))
    shown = report.Shown(settings, state.sweep)
    command = f"nox -s sweep -- {shown_path(settings.file)} --resume"
    with ExitStack() as stack:
        stack.enter_context(state.held())
        study = Study(state.study, settings)
        try:
            _record(settings, state, study, expected, uri, script, jobs, scheduler, shown)
            status = 0
        except RunIncomplete as incomplete:
            incomplete.show()
            status = incomplete.exit_code
        except KeyboardInterrupt:
            status = 130
        except BaseException:
            if shown.tally is not None:
                click.echo(f"To go on: {command}", err=True)
            raise
        if shown.tally is not None:
            report.show(shown, as_json)
            if html:
                from .page import write

                write(shown, study.importance(), html)
        if status:
            click.echo(f"To go on: {command}", err=True)
    return status


def _script() -> str:
    script = entry_point()
    if script is None:
        refuse("scripts/train.py", "the sweep was started from no file of the project", "use `repro sweep`")
    return script


def _facts(settings: Settings) -> dict[str, str]:
    """Return what every trial must have in common; raises Refused if a part of it cannot be obtained."""
    provenance = gather(settings.config)
    if provenance.refusals:
        raise Refused(provenance.refusals)
    found = facts(provenance)
    if settings.changes_data:
        del found["data_version"]
    return {name: value for name, value in found.items() if value != UNKNOWN}


def _record(
    settings: Settings,
    state: State,
    study: Study,
    expected: dict[str, str],
    uri: str,
    script: str,
    jobs: int | None,
    scheduler: str | None,
    shown: "report.Shown",
) -> None:
    """Record the run of the sweep, with its trials inside. The run finishes if each trial has a finished run."""
    import mlflow

    client = connect(create=True)  # before workers are asked whether the store is in their reach
    engine = _engine(settings, expected, uri, jobs, scheduler)
    with tracked_run(settings.config, run_name=f"sweep of {state.file}", tags={SWEEP_TAG: state.sweep}) as run:
        records = Records(client, run, state.sweep, settings.metric)
        order = order_for(settings, state.sweep, run.info.run_id, expected, uri, script)
        driver = Driver(settings, study, records, engine, order, run.info.run_id)
        with report.progress(settings) as draw:

            def tell(tally: Tally) -> None:
                shown.tally = tally
                draw(tally)
                if tally.last is not None and tally.best is not None:
                    mlflow.log_metric(f"best_{settings.metric}", tally.best.value, step=len(tally.results))

            driver.run(tell)
        tally = shown.tally
        if tally.best is not None:
            mlflow.set_tag("best_trials", " ".join(each.run_id for each in tally.of(tally.best.number)))
        if missing := settings.trials - tally.finished:
            problem = f"{missing} of {settings.trials} trials have no finished run"
            raise RunIncomplete(
                [Violation("sweep", problem, "correct what made them fail, or try again with --resume")]
            )


def _engine(settings: Settings, expected: dict[str, str], uri: str, jobs: int | None, scheduler: str | None) -> Engine:
    if scheduler is None:
        return Local(jobs or 1)
    from .workers import Workers

    return Workers(scheduler, jobs, expected, settings.config.model_dump(mode="json"), uri)
