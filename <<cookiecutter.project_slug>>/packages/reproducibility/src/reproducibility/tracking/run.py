"""A tracked run: it carries its provenance from its first request, and is FINISHED only if it does so at its end."""

import asyncio
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..config.loader import Config
from ..delivery.registry import journal_of
from ..delivery.sync import ship_leftovers
from ..digest import digest
from ..display import say
from ..errors import Refused, RunIncomplete, Violation, gate_violation, refuse
from ..evidence import EVIDENCE
from ..policy import violations
from ..process import this_process
from ..project import team_defaults, team_policy
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
from .store import connect, experiment_id, is_offline, reachable, unavailable
from .trial import take_trial

if TYPE_CHECKING:
    import mlflow


# mlflow is imported inside the functions, after the checks: a refusal must not wait seconds for an import.

_BATCH = 100  # MLflow accepts so many params in one request


@contextmanager
def tracked_run(
    config: Config | Mapping[str, Any], *, run_name: str | None = None, tags: Mapping[str, str] | None = None
) -> "Iterator[mlflow.ActiveRun]":
    """A reproducible run of *config*, as a ``with`` block; inside it every `mlflow.log_…` works as usual.

    Everything that keeps the run from starting is raised at once as Refused, before anything is created or computed.
    Then the run is created with its tags in one request, params and evidence are logged, every library in use is
    seeded, and the block runs. At the end of the block the run is checked again and becomes FINISHED. A violation, an
    exception, SIGTERM, Ctrl-C and `sys.exit` end the run FAILED, with the reason in the tag ``failure``. Inside another
    run the new run becomes that run's child.

    Threads and processes that the block starts log into the run, and runs that they begin belong to the run. Only the
    process that enters the block ends the run: a forked process that leaves the block changes nothing.

    Raises Refused, StoreUnavailable, RunIncomplete (at the end), and what the block raises.
    """
    _require_own_task()
    say("looking at the commit, the data and the environment ...")
    provenance = preflight(config, tags or {})
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
    all_tags = {**(tags or {}), **provenance.tags, **own_tags, **(trial.tags if trial else {})}
    run_name = run_name or (trial.name if trial else None)
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
                _log(client, run_id, provenance)
            provenance.seeding.apply()
            block.enter_context(opened(run_id, run.info.experiment_id, provenance.tags))
            say(f"run {run_id} is recording")
            yield run
            if process != os.getpid():  # a forked child that goes on behind the block: the run is not the child's
                return
            with reachable(client.tracking_uri):
                _require_unchanged(_as_recorded(client, run_id), provenance)
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

    For code that has its own ``with mlflow.start_run():``. Seeds every library in use too. Threads that have no run of
    their own log into this run. Raises Refused with every violation; MLflow then ends the run as FAILED.
    """
    run = _active_run()
    provenance = preflight(config if config is not None else team_defaults(), {}, begun=True)
    import mlflow

    trust_by_policy()
    client = mlflow.MlflowClient()
    with reachable(client.tracking_uri):
        _log(client, run.info.run_id, provenance, tags=provenance.tags)
    provenance.seeding.apply()
    log_into(run)


def validate_required_tags() -> None:
    """Raise RunIncomplete if the active MLflow run lacks tags or params that the policy requires; it names each.

    Also raises RunIncomplete if the run imported code that is neither in its record nor in the lock.
    """
    run = _active_run()
    import mlflow

    client = mlflow.MlflowClient()
    with reachable(client.tracking_uri):
        data = client.get_run(run.info.run_id).data
    policy = team_policy()
    found = [*violations(data.tags, data.params, policy), *refused_models(run.info.run_id), *unrecorded_code(policy)]
    if found:
        raise RunIncomplete(found)


def _active_run() -> "mlflow.ActiveRun":
    import mlflow

    if (run := mlflow.active_run()) is None:
        fix = "call it inside `with mlflow.start_run():`, or use `with tracked_run(config):` instead"
        refuse("mlflow.active_run", "there is no active run", fix)
    return run


def _log(
    client: "mlflow.MlflowClient", run_id: str, provenance: Provenance, tags: Mapping[str, str] | None = None
) -> None:
    """Log params (and *tags*) in one batch, the data version as the run's dataset, and the evidence."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

    params = [Param(key, value) for key, value in provenance.params.items()]
    client.log_batch(run_id, params=params[:_BATCH], tags=[RunTag(key, value) for key, value in (tags or {}).items()])
    for start in range(_BATCH, len(params), _BATCH):
        client.log_batch(run_id, params=params[start : start + _BATCH])
    path = str(provenance.values["data"]["path"])
    version = provenance.data.version
    # MLflow keeps 36 characters of a dataset's digest. The whole version is in the dataset's source and in a tag.
    source = json.dumps({"path": path, "version": version})
    dataset = Dataset(Path(path).name, version.partition(":")[2][:32], "local", source)
    inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
    try:
        client.log_inputs(run_id, datasets=inputs)
    except Exception as error:
        # MLflow first asks whether the dataset is recorded and then adds it. When two runs do that at the same moment,
        # the second one fails; when it tries again, the dataset is there.
        if "IntegrityError" not in str(error):
            raise
        client.log_inputs(run_id, datasets=inputs)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in provenance.evidence.items():
            Path(folder, name).write_bytes(content)
        client.log_artifacts(run_id, folder, EVIDENCE)


def _as_recorded(client: "mlflow.MlflowClient", run_id: str) -> "mlflow.entities.Run":
    """Return the run as it is now. A server with the gate judges at the end itself, and needs not be asked before."""
    journal = journal_of(run_id)
    if journal is None or not journal.header.is_gated:
        return client.get_run(run_id)
    from ..delivery.view import said_by_this_process

    return said_by_this_process(journal)


def _require_unchanged(run: "mlflow.entities.Run", provenance: Provenance) -> None:
    """Raise RunIncomplete unless the run has the tags that it started with, and the data is what the run read."""
    recorded = run.data
    found = [*violations(recorded.tags, recorded.params, provenance.policy), *refused_models(run.info.run_id)]
    if run.info.status != "RUNNING" or run.info.lifecycle_stage == "deleted":
        problem = f"the run was ended ({run.info.status}) or deleted before its block was through"
        found.append(Violation("status", problem, "leave its end to `tracked_run`"))
    known = {violation.key for violation in found}
    for key, value in provenance.tags.items():
        if recorded.tags.get(key) != value and key not in known:
            problem = "this tag was changed while the run was going on"
            found.append(Violation(key, problem, "leave the run's own tags alone"))
    found += changes_since(provenance.data, provenance.values, provenance.policy.data_not_versioned)
    if has_unplaced(run.info.run_id):
        problem = "a thread logged something while several runs were open, so it is in none of them"
        found.append(Violation("run_id", problem, "name the run there: mlflow.log_metric(..., run_id=run.info.run_id)"))
    # Also checked before the run; but a run imports most of its code while it runs.
    found += unrecorded_code(provenance.policy)
    if found:
        raise RunIncomplete(found)


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
