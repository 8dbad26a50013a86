"""A tracked run: it carries its provenance from its first request, and is FINISHED only if it does so at its end."""

import asyncio
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from ..config.loader import Config, merged
from ..delivery.registry import journal_of
from ..delivery.sync import ship_leftovers
from ..digest import digest
from ..display import say
from ..errors import Refused, RunIncomplete, Violation, gate_violation, refuse
from ..policy import Policy, violations
from ..process import this_process
from ..project import BASE_CONFIG, team_defaults, team_policy
from ..provenance.data import changes_since
from ..provenance.gather import Provenance
from ..tags import FAILURE_TAG, PROCESS_TAG, TOKEN_DIGEST_TAG, TOKEN_TAG
from .context import tags_given
from .failure import Interruption, is_outage, reason
from .fluent import log_into
from .models import refused_models, trust_by_policy
from .open_runs import has_unplaced, innermost_of_thread, is_in_view, opened
from .patience import short_waits
from .preflight import preflight, unrecorded_code
from .ramp import note, only_records, tag_of
from .record import record
from .store import connect, experiment_id, is_offline, reachable, unavailable
from .title import NOTE_TAG, description, title
from .trial import take_trial

if TYPE_CHECKING:
    import mlflow


# mlflow is imported inside the functions, after the checks: a refusal must not wait seconds for an import.


@contextmanager
def tracked_run(
    config: Config | Mapping[str, Any], *, run_name: str | None = None, tags: Mapping[str, str] | None = None
) -> "Iterator[mlflow.ActiveRun]":
    """A reproducible run of *config*, as a ``with`` block; inside it every `mlflow.log_…` works as usual.

    Everything that keeps the run from starting is raised at once as Refused, before anything is created or computed.
    Then the run is created with its tags in one request, params and evidence are logged, every library in use is
    seeded, and the block runs. At the end of the block the run is checked again and becomes FINISHED. A violation, an
    exception, SIGTERM, Ctrl-C and `sys.exit` end the run FAILED, with the reason in the tag ``failure``. Inside another
    run the new run becomes that run's child. With `enforce: record` in the policy a violation is a warning and a tag.

    Threads and processes that the block starts log into the run, and runs that they begin belong to the run. Only the
    process that enters the block ends the run: a forked process that leaves the block changes nothing.

    Raises Refused, StoreUnavailable, RunIncomplete (at the end), and what the block raises.
    """
    _require_own_task()
    say("looking at the commit, the data and the environment ...")
    provenance, broken = preflight(config, tags or {})
    say("opening the tracking store ...")
    client = connect(create=True)
    import mlflow

    from ..delivery.shipper import giving_up

    trust_by_policy()
    experiment = experiment_id(client, str(provenance.values["experiment_name"]))
    if not is_offline():
        ship_leftovers(client.tracking_uri)
    parent = mlflow.active_run()
    token = secrets.token_hex(16)
    own_tags = {PROCESS_TAG: this_process(), TOKEN_DIGEST_TAG: digest(token.encode())}
    trial = take_trial() if parent is None else None
    all_tags = {**(tags or {}), **provenance.tags, **own_tags, **(trial.tags if trial else {}), **tag_of(broken, {})}
    run_name = run_name or title(provenance)
    process = os.getpid()
    with Interruption() as interruption, ExitStack() as block:
        with reachable(client.tracking_uri), tags_given():
            run = mlflow.start_run(
                experiment_id=experiment, run_name=run_name, tags=all_tags, nested=parent is not None
            )
        run_id = run.info.run_id
        try:
            interruption.release()
            with reachable(client.tracking_uri):
                record(client, run_id, provenance, tags=_described(provenance, run_id, all_tags))
            _seed(provenance)
            block.enter_context(opened(run_id, run.info.experiment_id, provenance.tags))
            say(f"run {run_id} is recording")
            yield run
            if process != os.getpid():  # a forked child that goes on behind the block: the run is not the child's
                return
            with reachable(client.tracking_uri):
                _require_unchanged(client, _as_recorded(client, run_id), provenance)
            interruption.hold()
            with reachable(client.tracking_uri):
                client.set_tag(run_id, TOKEN_TAG, token)
        except BaseException as error:
            if process != os.getpid():
                raise
            interruption.hold()
            _fail(client, run_id, parent, reason(error))
            if (raised := _raised_for(error, client.tracking_uri)) is error:
                raise
            raise raised from error
        try:
            with reachable(client.tracking_uri), giving_up(lambda: interruption.is_pending):
                _end(client, run_id, parent, "FINISHED")
        except Refused as refused:  # by the gate of the store, which has made the run FAILED
            raise RunIncomplete(refused.violations) from None


def _require_own_task() -> None:
    """Raise Refused where another asyncio task of this thread has an open block: MLflow would mix up the two runs."""
    try:
        asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return
    other = innermost_of_thread()
    if other is not None and not is_in_view(other):
        problem = f"run {other.run_id} is open in another asyncio task of this thread"
        fix = "let that block end first, or give each run a thread: `await asyncio.to_thread(train, config)`"
        refuse("tracked_run", problem, fix)


def _raised_for(error: BaseException, uri: str) -> BaseException:
    """Return what a failed run raises for the *error* that ended it: mostly *error* itself."""
    if is_outage(error):
        return unavailable(uri, error)
    if isinstance(error, Refused) and not isinstance(error, RunIncomplete):
        return RunIncomplete(error.violations)  # Refused would say that nothing was started
    if isinstance(error, SystemExit) and not error.code:
        return SystemExit(1)  # status 0 would say that the run succeeded
    return error


def log_reproducibility_info(config: Config | Mapping[str, Any] | None = None) -> None:
    """Give the active MLflow run the tags, params and evidence of *config*, by default of configs/base.yaml.

    A mapping, such as ``vars(args)`` or ``{"arguments": vars(args)}``, is laid over the values of configs/base.yaml.

    For code that has its own ``with mlflow.start_run():``. Seeds every library in use too. Threads that have no run of
    their own log into this run. Raises Refused with every violation; MLflow then ends the run as FAILED.
    """
    run = _active_run()
    if config is None or isinstance(config, Mapping):
        config = merged(team_defaults(), config or {})
    provenance, broken = preflight(config, {}, begun=True, files=[BASE_CONFIG])
    import mlflow

    trust_by_policy()
    client = mlflow.MlflowClient()
    with reachable(client.tracking_uri):
        described = _described(provenance, run.info.run_id, run.data.tags)
        record(client, run.info.run_id, provenance, tags=provenance.tags | tag_of(broken, run.data.tags) | described)
    _seed(provenance)
    log_into(run)


def _described(provenance: Provenance, run_id: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tag with the description of the run, unless *tags* has one of the user's own."""
    return {} if NOTE_TAG in tags else {NOTE_TAG: description(provenance, run_id)}


def _seed(provenance: Provenance) -> None:
    if provenance.seeding is not None:  # else the config has no seed, and the policy only records that
        provenance.seeding.apply()


def validate_required_tags() -> None:
    """Raise RunIncomplete if the active MLflow run lacks tags or params that the policy requires; it names each.

    Also raises RunIncomplete if the run imported code that is neither in its record nor in the lock. If the policy only
    records violations, they become a tag and a warning instead.
    """
    run = _active_run()
    import mlflow

    client = mlflow.MlflowClient()
    with reachable(client.tracking_uri):
        data = client.get_run(run.info.run_id).data
    policy = team_policy()
    found = [*violations(data.tags, data.params, policy), *refused_models(run.info.run_id), *unrecorded_code(policy)]
    _enforce(client, run.info.run_id, data.tags, found, policy)


def _enforce(
    client: "mlflow.MlflowClient", run_id: str, tags: Mapping[str, str], found: list[Violation], policy: Policy
) -> None:
    """Raise RunIncomplete with *found*; if the policy only records violations, record them."""
    if found and only_records(policy):
        note(client, run_id, found, tags)
    elif found:
        raise RunIncomplete(found)


def _active_run() -> "mlflow.ActiveRun":
    import mlflow

    if (run := mlflow.active_run()) is None:
        fix = "call it inside `with mlflow.start_run():`, or use `with tracked_run(config):` instead"
        refuse("mlflow.active_run", "there is no active run", fix)
    return run


def _as_recorded(client: "mlflow.MlflowClient", run_id: str) -> "mlflow.entities.Run":
    """Return the run as it is now. A server with the gate judges at the end itself, and needs not be asked before."""
    journal = journal_of(run_id)
    if journal is None or not journal.header.is_gated:
        return client.get_run(run_id)
    from ..delivery.view import said_by_this_process

    return said_by_this_process(journal)


def _require_unchanged(client: "mlflow.MlflowClient", run: "mlflow.entities.Run", provenance: Provenance) -> None:
    """Raise RunIncomplete unless the run has the tags that it started with, and the data is what the run read.

    If the policy only records violations, they are recorded; but a run that has ended already can only fail.
    """
    recorded = run.data
    found = [*violations(recorded.tags, recorded.params, provenance.policy), *refused_models(run.info.run_id)]
    has_ended = run.info.status != "RUNNING" or run.info.lifecycle_stage == "deleted"
    if has_ended:
        problem = f"the run was ended ({run.info.status}) or deleted before its block was through"
        found.append(Violation("status", problem, "leave its end to `tracked_run`"))
    known = {violation.key for violation in found}
    for key, value in provenance.tags.items():
        if recorded.tags.get(key) != value and key not in known:
            problem = "this tag was changed while the run was going on"
            found.append(Violation(key, problem, "leave the run's own tags alone"))
    if provenance.data is not None:
        found += changes_since(provenance.data, provenance.values, provenance.policy.data_not_versioned)
    if has_unplaced(run.info.run_id):
        problem = "a thread logged something while several runs were open, so it is in none of them"
        found.append(Violation("run_id", problem, "name the run there: mlflow.log_metric(..., run_id=run.info.run_id)"))
    # Also checked before the run; but a run imports most of its code while it runs.
    found += unrecorded_code(provenance.policy)
    if has_ended:
        raise RunIncomplete(found)
    _enforce(client, run.info.run_id, recorded.tags, found, provenance.policy)


def _end(client: "mlflow.MlflowClient", run_id: str, parent: "mlflow.ActiveRun | None", status: str) -> None:
    """End the run and every run that the block left running inside it, so that *parent* is the active run again.

    Every end is tried. Then the first error is raised.
    """
    import mlflow

    ended, errors = set(), []
    while (active := mlflow.active_run()) is not None and (parent is None or active.info.run_id != parent.info.run_id):
        ended.add(active.info.run_id)
        try:
            mlflow.end_run(status)
        except Exception as error:
            errors.append(error)
    if run_id not in ended:  # the block ended the run itself: its status is not up to the block
        try:
            client.set_terminated(run_id, status)
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _fail(client: "mlflow.MlflowClient", run_id: str, parent: "mlflow.ActiveRun | None", why: str) -> None:
    """End the run FAILED and print the reason. Never raises: the error to show is the one that made the run fail."""
    recorded, was_closed = True, False
    # The end is tried even when the tag cannot be set. It also takes the run out of MLflow's list of active runs, which
    # MLflow ends as FINISHED when the process exits.
    for step in (
        lambda: client.set_tag(run_id, FAILURE_TAG, why),
        lambda: _end(client, run_id, parent, "FAILED"),
    ):
        try:
            with short_waits():
                step()
        except Exception as error:
            refused = gate_violation(str(error)) is not None
            recorded, was_closed = recorded and refused, was_closed or refused
    if was_closed:
        click.echo(f"run {run_id} was ended before its block was through, and its record is closed: {why}", err=True)
        return
    if not recorded:
        why += " (the tracking store did not record this: there the run may still count as running)"
    click.echo(f"run {run_id} ended FAILED: {why}", err=True)
