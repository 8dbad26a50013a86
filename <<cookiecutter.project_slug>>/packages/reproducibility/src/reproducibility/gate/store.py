"""MLflow's stores in a database, with the gate in front of everything that writes. Only `gate` opens them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from mlflow.entities import LoggedModelStatus, Run, RunStatus, RunTag
from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.store.tracking.dbmodels.models import SqlParam, SqlRun
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.tracking.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore

from ..errors import GATE, Violation
from ..evidence import CONFIG, EVIDENCE, MANIFEST, PATCH
from ..lockfile import LOCK
from ..policy import Policy
from ..rules import CLOSED, change_refusal, creation_refusal, finish_refusal, frozen
from ..secrets import recordable
from ..tags import FAILURE_TAG, PARENT_TAG, REPRODUCES, RESTATED

# Inside, what is written is a note on a run, and that is allowed when the run has ended too.
_noting: ContextVar[bool] = ContextVar("noting", default=False)
# Inside, a run says its RESTATED tags anew.
_restating: ContextVar[bool] = ContextVar("restating", default=False)


def open_store(store_uri: str, artifact_uri: str | None, policy: Policy) -> "Gated":
    """Return the store for a database as MLflow's own builders do, on a server and elsewhere."""
    artifacts = artifact_uri or os.environ.get("_MLFLOW_SERVER_ARTIFACT_ROOT") or DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    kind = GatedWorkspaceStore if MLFLOW_ENABLE_WORKSPACES.get() else GatedStore
    return kind(policy, store_uri, artifacts, os.environ.get("_MLFLOW_SERVER_READ_REPLICA_BACKEND_STORE"))


def refuse(violation: Violation | None) -> None:
    """Raise *violation*, if there is one, as MLflow does for a bad request, which no client tries again."""
    if violation is not None:
        raise MlflowException(str(violation), INVALID_PARAMETER_VALUE)


@contextmanager
def _being(state: ContextVar[bool]) -> Iterator[None]:
    token = state.set(True)
    try:
        yield
    finally:
        state.reset(token)


class Gated:
    """The gate, to be mixed into one of MLflow's stores; what it relies on there is tested against the pinned MLflow.

    MLflow's methods that write to a run's record ask `_check_run_is_active` first: there a run that has ended is
    refused, unless the write is a note. Deleting a run is not refused: it hides the run, with all of it, until it is
    restored.
    """

    def __init__(self, policy: Policy, *arguments: Any) -> None:
        self.policy = policy
        self.frozen = frozen(policy)
        super().__init__(*arguments)

    def create_experiment(self, name: str, artifact_location: str | None = None, tags: list[Any] | None = None) -> str:
        kept_here = (artifact_location or "mlflow-artifacts:").startswith("mlflow-artifacts:")
        if os.environ.get("_MLFLOW_SERVER_SERVE_ARTIFACTS") == "true" and not kept_here:
            problem = (
                f"an experiment whose files lie in {artifact_location[:200]!r} keeps them where anybody can change them"
            )
            refuse(Violation(GATE, problem, "create it without an artifact_location"))
        return super().create_experiment(name, artifact_location, tags)

    def create_run(self, experiment_id: str, user_id: str, start_time: int, tags: list[RunTag], run_name: str) -> Run:
        given = {tag.key: tag.value for tag in tags or []}
        refuse(creation_refusal(given, self.policy, _user()))
        if parent := given.get(PARENT_TAG):
            self.require_open(parent, "no run can be added inside it")
        return super().create_run(experiment_id, user_id, start_time, tags, run_name)

    def update_run_info(self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None) -> Any:
        if run_status is None:
            return self._rename(run_id, run_name)
        wanted, now = RunStatus.to_string(run_status), self.status(run_id)
        if wanted == now:
            # A new name, or the same end told again by a client that did not hear the answer. Nothing is written of the
            # status: it may have changed since it was read.
            return self._rename(run_id, run_name)
        if now in CLOSED:
            refuse(change_refusal(f"it cannot become {wanted}", run_id, now))
        if wanted == "FINISHED" and (violation := self.against_finish(run_id)):
            self.set_tag(run_id, RunTag(FAILURE_TAG, recordable(violation)))
            super().update_run_info(run_id, RunStatus.from_string("FAILED"), end_time, run_name)
            refuse(violation)
        return super().update_run_info(run_id, run_status, end_time, run_name)

    def log_batch(self, run_id: str, metrics: list[Any], params: list[Any], tags: list[RunTag]) -> None:
        if not metrics and not params:
            with _being(_noting):
                return super().log_batch(run_id, metrics, params, tags)
        if params and any(tag.key in RESTATED for tag in tags) and self._has_no_params(run_id):
            with _being(_restating):
                return super().log_batch(run_id, metrics, params, tags)
        return super().log_batch(run_id, metrics, params, tags)

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        self._require_free(run_id, {tag.key: tag.value})
        with _being(_noting):
            super().set_tag(run_id, tag)

    def _set_tags(self, run_id: str, tags: list[RunTag]) -> None:
        self._require_free(run_id, {tag.key: tag.value for tag in tags})
        with _being(_noting):
            super()._set_tags(run_id, tags)

    def delete_tag(self, run_id: str, key: str) -> None:
        self._require_free(run_id, {key: None})
        with _being(_noting):
            super().delete_tag(run_id, key)

    def create_logged_model(self, experiment_id: str, *arguments: Any, **options: Any) -> Any:
        names = ("name", "source_run_id")
        source_run = (dict(zip(names, arguments, strict=False)) | options).get("source_run_id")
        if source_run:
            self.require_open(source_run, "it takes no more models")
        return super().create_logged_model(experiment_id, *arguments, **options)

    def log_logged_model_params(self, model_id: str, params: list[Any]) -> None:
        if source_run := self.get_logged_model(model_id).source_run_id:
            self.require_open(source_run, "its models take no more params")
        super().log_logged_model_params(model_id, params)

    def delete_logged_model(self, model_id: str) -> None:
        if source_run := self.get_logged_model(model_id).source_run_id:
            self.require_open(source_run, "its models stay, because nobody could bring them back")
        super().delete_logged_model(model_id)

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus) -> Any:
        model = self.get_logged_model(model_id)
        if model.source_run_id and model.status != status:
            self.require_open(model.source_run_id, "its models stay what they are")
        return super().finalize_logged_model(model_id, status)

    def log_outputs(self, run_id: str, models: list[Any]) -> None:
        for model in models:
            if self.get_logged_model(model.model_id).source_run_id != run_id:
                problem = f"model {model.model_id} was not logged in run {run_id}, so the gate could not guard it"
                refuse(Violation(GATE, problem, "log it inside that run: mlflow.<library>.log_model(...)"))
        super().log_outputs(run_id, models)

    def _check_run_is_active(self, run: SqlRun) -> None:
        super()._check_run_is_active(run)
        if run.status in CLOSED and not _noting.get():
            refuse(change_refusal("it takes no more metrics, params, inputs or models", run.run_uuid, run.status))

    def status(self, run_id: str) -> str:
        """Return the status of a run, e.g. ``RUNNING``; raises MlflowException if there is no such run."""
        with self.ManagedSessionMaker(read_only=False) as session:
            return self._get_run(session, run_id).status

    def require_open(self, run_id: str, what: str) -> None:
        """Raise MlflowException if the run has ended: *what* says, as a clause, what cannot be done then."""
        if (status := self.status(run_id)) in CLOSED:
            refuse(change_refusal(what, run_id, status))

    def _require_free(self, run_id: str, wanted: Mapping[str, str | None]) -> None:
        """Refuse to give a frozen tag another value, or None, which takes it away."""
        asked = wanted.keys() & (self.frozen - RESTATED if _restating.get() else self.frozen)
        if not asked:
            return
        with self.ManagedSessionMaker(read_only=False) as session:
            tags = {tag.key: tag.value for tag in self._get_run(session, run_id).tags}
        differing = {key for key in asked if tags.get(key) != wanted[key]}
        if FAILURE_TAG in differing:
            if FAILURE_TAG in tags or self.status(run_id) == "FINISHED":
                self.require_open(run_id, f"its tag `{FAILURE_TAG}` stays as it is")
            differing.discard(FAILURE_TAG)
        if REPRODUCES in differing and self._is_more_exact(tags, wanted[REPRODUCES]):
            differing.discard(REPRODUCES)
        if changed := sorted(differing & tags.keys()):
            problem = f"{', '.join(changed)} of run {run_id} say where it comes from, and that does not change"
            refuse(Violation(GATE, problem, "start a new run if it comes from somewhere else"))
        if added := sorted(differing):
            self.require_open(run_id, f"it cannot be given {', '.join(added)} now")
            if PARENT_TAG in added:
                self.require_open(wanted[PARENT_TAG], "no run can be added inside it")

    def _is_more_exact(self, tags: Mapping[str, str], repeated: str | None) -> bool:
        """Whether a run with *tags* may say that it repeats *repeated*, or None, instead of what it says.

        A run inside another one first says what that repeats, and then which run inside that it repeats itself.
        """
        if repeated is None:
            return True
        outer, seen = repeated, set()
        while PARENT_TAG in tags and outer and outer not in seen:
            if outer == tags.get(REPRODUCES):
                return True
            seen.add(outer)
            outer = self._recorded(outer).tags.get(PARENT_TAG)
        return False

    def _rename(self, run_id: str, run_name: str | None) -> Any:
        with _being(_noting):
            return super().update_run_info(run_id, None, None, run_name)

    def _has_no_params(self, run_id: str) -> bool:
        with self.ManagedSessionMaker(read_only=False) as session:
            return session.query(SqlParam.key).filter(SqlParam.run_uuid == run_id).first() is None

    def against_finish(self, run_id: str) -> Violation | None:
        """Return why a run may not count as finished, if so, by its tags, params and evidence as they are now."""
        run = self._recorded(run_id)
        tags, params, files = run.tags, run.params, _evidence(run)
        seen = {run_id}
        # A run inside another one is part of it: made by the same code, from the same config and data.
        while MANIFEST not in files and (parent := run.tags.get(PARENT_TAG)) and parent not in seen:
            seen.add(parent)
            run = self._recorded(parent)
            params, files = run.params, _evidence(run)
        return finish_refusal(tags, params, files, self.policy)

    def _recorded(self, run_id: str) -> "_Recorded":
        with self.ManagedSessionMaker(read_only=False) as session:
            run = self._get_run(session, run_id)
            tags, params = ({each.key: each.value for each in many} for many in (run.tags, run.params))
            return _Recorded(run_id, run.artifact_uri, tags, params)


class GatedStore(Gated, SqlAlchemyStore):
    """The store of a server with one workspace, and of a database in a file."""


class GatedWorkspaceStore(Gated, WorkspaceAwareSqlAlchemyStore):
    """The store of a server with workspaces."""


def _user() -> str | None:
    """Return who is logged in, as MLflow's basic-auth app has found out; None where nobody has to log in."""
    try:
        from flask import g, has_app_context
    except ImportError:  # no server, and then no flask
        return None
    return g.get("mlflow_authenticated_user") if has_app_context() else None


class _Recorded(NamedTuple):
    """What of a run the gate judges: MLflow's own answer also fetches metrics, inputs and models."""

    run_id: str
    artifact_uri: str
    tags: dict[str, str]
    params: dict[str, str]


def _evidence(run: _Recorded) -> dict[str, bytes]:
    """Return the evidence among the files of *run*, wherever this store keeps them.

    Raises MlflowException, with which a client tries again, if they cannot be read: nothing is known then.
    """
    try:
        repository, path = _repository(run.artifact_uri)
        names = {Path(file.path).name for file in repository.list_artifacts(path)}
        with TemporaryDirectory() as folder:
            return {
                name: Path(repository.download_artifacts(f"{path}/{name}", folder)).read_bytes()
                for name in sorted(names & {MANIFEST, CONFIG, LOCK, PATCH})
            }
    except Exception as error:
        problem = f"the evidence of run {run.run_id} cannot be read ({recordable(error)})"
        fix = "see to the store of the artifacts, then end the run again"
        raise MlflowException(str(Violation(GATE, problem, fix)), TEMPORARILY_UNAVAILABLE) from error


def _repository(uri: str) -> tuple[Any, str]:
    if not uri.startswith("mlflow-artifacts:"):
        return get_artifact_repository(uri), EVIDENCE
    # The server keeps these files itself: going through its own door would block it if it has one worker.
    from mlflow.server import handlers

    path = handlers._get_proxied_run_artifact_destination_path(uri, EVIDENCE)
    return (
        handlers._get_artifact_repo_mlflow_artifacts(),
        handlers._get_workspace_scoped_repo_path_if_enabled(path),
    )
