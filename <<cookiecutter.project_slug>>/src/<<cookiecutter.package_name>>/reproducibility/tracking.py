"""Tracking: a run that carries its provenance from its first request on, and is FINISHED only if it does at its end."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .admission import admit
from .config_file import Config
from .context import silenced
from .interruption import Interruption, Terminated
from .policy import violations
from .provenance import Provenance, current_data, team_defaults, team_policy
from .store import StoreUnavailable, connect, experiment_id, reachable
from .url import without_credentials
from .violation import Refused, Violation

if TYPE_CHECKING:
    import mlflow

# mlflow is imported inside the functions, after the checks: a refusal must not wait seconds for an import.

EVIDENCE = "reproducibility"
FAILURE_TAG = "failure"


class RunIncomplete(Refused):
    """A recorded run lacks what the policy requires. A command ends with status 1: the check does not hold."""

    exit_code = 1


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
    provenance = admit(config, tags or {})
    client = connect()
    import mlflow

    experiment = experiment_id(client, str(provenance.values["experiment_name"]))
    with Interruption() as interruption:
        with reachable(client.tracking_uri), silenced():
            run = mlflow.start_run(
                experiment_id=experiment,
                run_name=run_name,
                tags={**(tags or {}), **provenance.tags},
                nested=mlflow.active_run() is not None,
            )
        run_id = run.info.run_id
        try:
            interruption.release()
            with reachable(client.tracking_uri):
                _log(client, run_id, provenance)
            provenance.seeding.apply()
            yield run
            with reachable(client.tracking_uri):
                _require_unchanged(client.get_run(run_id).data, provenance)
            interruption.hold()
        except BaseException as error:
            interruption.hold()
            _fail(client, run_id, _reason(error))
            if _is_outage(error):
                raise StoreUnavailable(client.tracking_uri, error) from error
            raise
        with reachable(client.tracking_uri):
            _end(client, run_id, "FINISHED")


def log_reproducibility_info(config: Config | Mapping[str, Any] | None = None) -> None:
    """Give the active MLflow run the tags, params and evidence of *config*, by default of configs/base.yaml.

    For code that has its own ``with mlflow.start_run():``. Seeds every library in use too. Raises Refused with
    everything that speaks against the run, which MLflow then ends as FAILED.
    """
    run = _active_run()
    provenance = admit(config if config is not None else team_defaults(), {})
    import mlflow

    client = mlflow.MlflowClient()
    with reachable(client.tracking_uri):
        _log(client, run.info.run_id, provenance, tags=provenance.tags)
    provenance.seeding.apply()


def validate_required_tags() -> None:
    """Raise RunIncomplete, naming each, if the active MLflow run lacks a tag or param that the policy requires."""
    run = _active_run()
    import mlflow

    client = mlflow.MlflowClient()
    with reachable(client.tracking_uri):
        data = client.get_run(run.info.run_id).data
    if found := violations(data.tags, data.params, team_policy()):
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

    client.log_batch(
        run_id,
        params=[Param(key, value) for key, value in provenance.params.items()],
        tags=[RunTag(key, value) for key, value in (tags or {}).items()],
    )
    path = str(provenance.values["data"]["path"])
    version = provenance.data.version
    # MLflow keeps 36 characters of a dataset's digest: the whole version is in its source and in the tag.
    source = json.dumps({"path": path, "version": version})
    dataset = Dataset(Path(path).name, version.partition(":")[2][:32], "local", source)
    client.log_inputs(run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
    with tempfile.TemporaryDirectory() as folder:
        for name, content in provenance.evidence.items():
            Path(folder, name).write_bytes(content)
        client.log_artifacts(run_id, folder, EVIDENCE)


def _require_unchanged(recorded: Any, provenance: Provenance) -> None:
    """Raise RunIncomplete unless the run still carries what it started with and the data is still what was read."""
    found = list(violations(recorded.tags, recorded.params, provenance.policy))
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
    if found:
        raise RunIncomplete(found)


def _end(client: "mlflow.MlflowClient", run_id: str, status: str) -> None:
    import mlflow

    active = mlflow.active_run()
    if active is not None and active.info.run_id == run_id:
        mlflow.end_run(status)
    else:  # the block ended the run itself, but it is not up to the block whether the run counts as finished
        client.set_terminated(run_id, status)


def _fail(client: "mlflow.MlflowClient", run_id: str, reason: str) -> None:
    """End the run FAILED and say why. Never raises: what made it fail is the error to show, not this."""
    from mlflow.exceptions import MlflowException

    try:
        client.set_tag(run_id, FAILURE_TAG, reason)
        _end(client, run_id, "FAILED")
    except MlflowException:
        reason += " (the tracking store could not be told: there the run still counts as running)"
    click.echo(f"run {run_id} ended FAILED: {reason}", err=True)


def _is_outage(error: BaseException) -> bool:
    """Whether *error* is the MLflow client giving up on a server, not one of its complaints about what was logged."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and str(error).startswith("API request to")


def _reason(error: BaseException) -> str:
    if isinstance(error, (Terminated, KeyboardInterrupt)):
        return "terminated by SIGTERM" if isinstance(error, Terminated) else "interrupted with Ctrl-C"
    if isinstance(error, SystemExit):
        return f"sys.exit({error.code!r}) before the end of the run"
    return without_credentials(f"{type(error).__name__}: {error}")[:500]
