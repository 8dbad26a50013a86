"""MLflow's model registries in a database: a protected alias moves only to a model whose run was made again."""

import os
from collections.abc import Callable
from typing import Any

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.model_registry.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore
from mlflow.tracking._tracking_service.utils import _get_store

from ..errors import GATE, Violation
from ..policy import Policy
from ..rules import StoredRun, alias_refusal, is_protected, why_not_reproduced
from ..tags import REPRODUCED_BY
from .store import Gated, refuse


def open_registry(store_uri: str, policy: Policy) -> "GatedAliases":
    """Return the registry in a database as MLflow's own builders do, on a server and elsewhere."""
    kind = GatedWorkspaceRegistry if MLFLOW_ENABLE_WORKSPACES.get() else GatedRegistry
    return kind(policy, store_uri, os.environ.get("_MLFLOW_SERVER_READ_REPLICA_BACKEND_STORE"))


class GatedAliases:
    """The gate, to be mixed into one of MLflow's registries."""

    def __init__(self, policy: Policy, *arguments: Any) -> None:
        self.policy = policy
        super().__init__(*arguments)

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        if is_protected(alias, self.policy):
            refuse(self._against(self.get_model_version(name, version), alias))
        super().set_registered_model_alias(name, alias, version)

    def delete_model_version(self, name: str, version: str) -> None:
        self._require_unneeded(name, version)
        super().delete_model_version(name, version)

    def delete_registered_model(self, name: str) -> None:
        self._require_unneeded(name)
        super().delete_registered_model(name)

    def _require_unneeded(self, name: str, version: str | None = None) -> None:
        """Refuse to delete what a protected alias points to: *version* of a model, or any version if None."""
        pointing = self.get_registered_model(name).aliases
        for alias, number in sorted(pointing.items()):
            if is_protected(alias, self.policy) and (version is None or str(version) == str(number)):
                problem = f"{alias!r} points to version {number} of {name!r}, so that cannot be deleted"
                refuse(Violation(GATE, problem, "let the alias point to another version, or delete it first"))

    def _against(self, version: ModelVersion, alias: str) -> Violation | None:
        tracking = _get_store(os.environ.get("_MLFLOW_SERVER_FILE_STORE") or self.db_uri)
        what = f"{alias!r} cannot point to version {version.version} of {version.name!r}"
        run_id = version.run_id
        if not run_id:
            problem, fix = "it names no run that it is the model of", "register it from the run that logged it"
            return Violation(GATE, f"{what}: {problem}", fix)
        if (run := _found(tracking.get_run, run_id)) is None:
            problem, fix = f"its run {run_id} is not there", "register it from a run that is"
            return Violation(GATE, f"{what}: {problem}", fix)
        models = [_found(tracking.get_logged_model, output.model_id) for output in run.outputs.model_outputs]
        if self.get_model_version_download_uri(version.name, version.version) not in {
            model.artifact_location for model in models if model and model.source_run_id == run_id
        }:
            return alias_refusal(what, f"it is not the model that run {run_id} logged", run_id)
        again = run.data.tags.get(REPRODUCED_BY)
        if again is None:
            return alias_refusal(what, f"nobody has made its run {run_id} again", run_id)
        if (second := _found(tracking.get_run, again)) is None:
            return alias_refusal(what, f"run {again}, which its run {run_id} names, is not there", run_id)
        problem = next((problem for each in (run, second) if (problem := _against_run(tracking, each))), None)
        problem = problem or why_not_reproduced(_told(run), _told(second), self.policy)
        return alias_refusal(what, problem, run_id) if problem else None


class GatedRegistry(GatedAliases, SqlAlchemyStore):
    """The registry of a server with one workspace, and of a database in a file."""


class GatedWorkspaceRegistry(GatedAliases, WorkspaceAwareSqlAlchemyStore):
    """The registry of a server with workspaces."""


def _against_run(tracking: Gated, run: Run) -> str | None:
    run_id = run.info.run_id
    if run.info.status != "FINISHED" or run.info.lifecycle_stage != "active":
        return f"run {run_id} is {run.info.status}, {run.info.lifecycle_stage}"
    return violation.problem if (violation := tracking.against_finish(run_id)) else None


def _found(ask: Callable[[str], Any], wanted: str) -> Any:
    """Return what *ask* knows of *wanted*; None if it knows of no such thing."""
    try:
        return ask(wanted)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _told(run: Run) -> StoredRun:
    return StoredRun(run.info.run_id, run.data.tags, run.data.metrics)
