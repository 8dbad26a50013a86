"""Tracking: a run that carries its provenance from its first request on, and is FINISHED only if it does at its end."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..config.loader import Config
from ..display import say
from ..errors import Refused, RunIncomplete, Violation, gate_violation
from ..evidence import EVIDENCE
from ..policy import Policy, violations
from ..project import PROJECT_ROOT, team_defaults, team_policy
from ..provenance.code import foreign_code
from ..provenance.data import current_data
from ..provenance.gather import Provenance
from ..rules import new_token
from ..tags import FAILURE_TAG, PROCESS_TAG, TOKEN_DIGEST_TAG, TOKEN_TAG
from .context import carrying
from .failure import Interruption, is_outage, reason
from .preflight import preflight
from .process import this_process
from .store import connect, experiment_id, impatient, reachable, unavailable

if TYPE_CHECKING:
    import mlflow


# mlflow is imported inside the functions, after the checks: a refusal must not wait seconds for an import.

_BATCH = 100  # the params that MLflow takes at once


@contextmanager
def tracked_run(
    config: Config | Mapping[str, Any], *, run_name: str | None = None, tags: Mapping[str, str] | None = None
) -> "Iterator[mlflow.ActiveRun]":
    """A run of *config* that can be made again, as a ``with`` block; inside it every `mlflow.log_…` works as usual.

    Before anything is created or computed, everything that speaks against the run is raised at once as Refused. Then
    the run is created with its tags in one request, the params and the evidence are logged, every library in use is
    seeded, and the block runs. At its end the run is judged again and becomes FINISHED. A violation, an exception,
    SIGTERM, Ctrl-C and `sys.exit` end it FAILED, with the reason in the tag ``failure``. Inside another run it
    becomes that run's child.

    Raises Refused, StoreUnavailable (the store is away), RunIncomplete (at the end), and what the block raises.
    """
    say("looking at the commit, the data and the environment ...")
    provenance = preflight(config, tags or {})
    say("opening the tracking store ...")
    client = connect(create=True)
    import mlflow

    experiment = experiment_id(client, str(provenance.values["experiment_name"]))
    parent = mlflow.active_run()
    word, digest = new_token()
    own = {PROCESS_TAG: this_process(), TOKEN_DIGEST_TAG: digest}
    with Interruption() as interruption, carrying(provenance.tags):
        with reachable(client.tracking_uri):
            run = mlflow.start_run(
                experiment_id=experiment,
                run_name=run_name,
                tags={**(tags or {}), **provenance.tags, **own},
                nested=parent is not None,
            )
        run_id = run.info.run_id
        try:
            interruption.release()
            with reachable(client.tracking_uri):
                _log(client, run_id, provenance)
            provenance.seeding.apply()
            say(f"run {run_id} is recording")
            yield run
            with reachable(client.tracking_uri):
                _require_unchanged(client.get_run(run_id), provenance)
            interruption.hold()
            with reachable(client.tracking_uri):
                client.set_tag(run_id, TOKEN_TAG, word)
        except BaseException as error:
            interruption.hold()
            _fail(client, run_id, parent, reason(error))
            if is_outage(error):
                raise unavailable(client.tracking_uri, error) from error
            if isinstance(error, Refused) and not isinstance(error, RunIncomplete):
                raise RunIncomplete(error.violations) from error  # refused too late to say that nothing was started
            if isinstance(error, SystemExit) and not error.code:
                raise SystemExit(1) from error  # the run failed: the status must not say that all is well
            raise
        try:
            with reachable(client.tracking_uri):
                _end(client, run_id, parent, "FINISHED")
        except Refused as refused:  # by the gate of the store, which then has made it FAILED
            raise RunIncomplete(refused.violations) from None


def log_reproducibility_info(config: Config | Mapping[str, Any] | None = None) -> None:
    """Give the active MLflow run the tags, params and evidence of *config*, by default of configs/base.yaml.

    For code that has its own ``with mlflow.start_run():``. Seeds every library in use too. Raises Refused with
    everything that speaks against the run, which MLflow then ends as FAILED.
    """
    run = _active_run()
    provenance = preflight(config if config is not None else team_defaults(), {}, begun=True)
    import mlflow

    client = mlflow.MlflowClient()
    with reachable(client.tracking_uri):
        _log(client, run.info.run_id, provenance, tags=provenance.tags)
    provenance.seeding.apply()


def validate_required_tags() -> None:
    """Raise RunIncomplete, naming each, if the active MLflow run lacks a tag or param that the policy requires.

    So it does if code was imported that nobody could have again.
    """
    run = _active_run()
    import mlflow

    client = mlflow.MlflowClient()
    with reachable(client.tracking_uri):
        data = client.get_run(run.info.run_id).data
    if found := [*violations(data.tags, data.params, team_policy()), *_unrecorded_code(team_policy())]:
        raise RunIncomplete(found)


def _active_run() -> "mlflow.ActiveRun":
    import mlflow

    if (run := mlflow.active_run()) is None:
        fix = "call it inside `with mlflow.start_run():`, or use `with tracked_run(config):` instead"
        raise Refused([Violation("mlflow.active_run", "there is no active run", fix)])
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
    # MLflow keeps 36 characters of a dataset's digest: the whole version is in its source and in the tag.
    source = json.dumps({"path": path, "version": version})
    dataset = Dataset(Path(path).name, version.partition(":")[2][:32], "local", source)
    inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
    try:
        client.log_inputs(run_id, datasets=inputs)
    except Exception as error:
        # MLflow looks whether it knows the dataset and then adds it: of two runs at one moment the second fails. Once.
        if "IntegrityError" not in str(error):
            raise
        client.log_inputs(run_id, datasets=inputs)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in provenance.evidence.items():
            Path(folder, name).write_bytes(content)
        client.log_artifacts(run_id, folder, EVIDENCE)


def _require_unchanged(run: "mlflow.entities.Run", provenance: Provenance) -> None:
    """Raise RunIncomplete unless the run still carries what it started with and the data is still what was read."""
    recorded = run.data
    found = list(violations(recorded.tags, recorded.params, provenance.policy))
    if run.info.status != "RUNNING" or run.info.lifecycle_stage == "deleted":
        problem = f"the run was ended ({run.info.status}) or deleted before its block was through"
        found.append(Violation("status", problem, "leave its end to `tracked_run`"))
    known = {violation.key for violation in found}
    for key, value in provenance.tags.items():
        if recorded.tags.get(key) != value and key not in known:
            found.append(
                Violation(key, "this tag was changed while the run was going on", "leave the run's own tags alone")
            )
    try:
        data = current_data(provenance.values)
    except Refused as refused:
        found += refused.violations
    else:
        if data.version != provenance.data.version:
            found.append(
                Violation(
                    "data_version", "the data changed while the run was going on", "run again on data that is at rest"
                )
            )
    # Once more: most of what a run imports it imports on the way.
    found += _unrecorded_code(provenance.policy)
    if found:
        raise RunIncomplete(found)


def _unrecorded_code(policy: Policy) -> Iterator[Violation]:
    return foreign_code(PROJECT_ROOT, outside=policy.environment_drift == "refuse")


def _end(client: "mlflow.MlflowClient", run_id: str, parent: "mlflow.ActiveRun | None", status: str) -> None:
    """End the run and whatever the block left running inside it, so that *parent* is the active run again.

    Every end is tried; then what spoke against the first that failed is raised.
    """
    import mlflow

    ended, errors = set(), []
    while (active := mlflow.active_run()) is not None and (parent is None or active.info.run_id != parent.info.run_id):
        ended.add(active.info.run_id)
        try:
            mlflow.end_run(status)
        except Exception as error:
            errors.append(error)
    if run_id not in ended:  # the block ended it, but it is not up to the block whether the run counts as finished
        try:
            client.set_terminated(run_id, status)
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _fail(client: "mlflow.MlflowClient", run_id: str, parent: "mlflow.ActiveRun | None", why: str) -> None:
    """End the run FAILED and say why. Never raises: what made it fail is the error to show, not this."""
    told, was_closed = True, False
    # The end is tried even where the tag failed: it also takes the run from MLflow, who would call it FINISHED at exit.
    for step in (
        lambda: client.set_tag(run_id, FAILURE_TAG, why),
        lambda: _end(client, run_id, parent, "FAILED"),
    ):
        try:
            with impatient():
                step()
        except Exception as error:
            refused = gate_violation(str(error)) is not None
            told, was_closed = told and refused, was_closed or refused
    if was_closed:
        click.echo(f"run {run_id} was ended before its block was through, and its record is closed: {why}", err=True)
        return
    if not told:
        why += " (the tracking store could not be told: there the run may still count as running)"
    click.echo(f"run {run_id} ended FAILED: {why}", err=True)
