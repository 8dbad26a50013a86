"""MLflow's model registries in a database: a protected alias moves only to a model whose run was reproduced."""

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlRegisteredModelAlias
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.model_registry.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore
from mlflow.tracking._tracking_service.utils import _get_store
from mlflow.utils import validation
from mlflow.utils.uri import is_local_uri

from ..errors import GATE, Refused, Violation
from ..policy import Policy
from ..rules import StoredRun, alias_refusal, is_protected, why_not_its_model, why_not_reproduced
from ..tags import REPRODUCED_BY
from .logins import current_login, is_prover, reader_refusal
from .store import Gated, is_kept_here, refuse_request

# Sources that name something in the store, and the placeholder of a prompt, which has no files.
_OWN_SOURCES = ("models", "runs", "")


def open_registry(store_uri: str, policy: Policy) -> "GatedAliases":
    """Return the registry in a database as MLflow's own builders do, on a server and elsewhere."""
    kind = GatedWorkspaceRegistry if MLFLOW_ENABLE_WORKSPACES.get() else GatedRegistry
    return kind(policy, store_uri, os.environ.get("_MLFLOW_SERVER_READ_REPLICA_BACKEND_STORE"))


def require_names(model: str, alias: str) -> None:
    """Raise Refused, with the options of `repro promote`, for names that MLflow's registry does not accept."""
    checks = (
        ("--model", validation._validate_model_name, model),
        ("--alias", validation._validate_model_alias_name, alias),
        ("--alias", validation._validate_model_alias_name_reserved, alias),
    )
    found = {}
    for option, check, name in checks:
        try:
            check(name)
        except MlflowException as error:
            found[option] = Violation(option, f"{name[:80]!r} is not a valid name ({error.message})", "choose another")
    if found:
        raise Refused(found.values())


class GatedAliases:
    """The gate, a mixin for MLflow's registries."""

    def __init__(self, policy: Policy, *arguments: Any) -> None:
        self.policy = policy
        super().__init__(*arguments)

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        if is_protected(alias, self.policy):
            refuse_request(self._alias_violation(self.get_model_version(name, version), alias))
        super().set_registered_model_alias(name, alias, version)

    def create_registered_model(self, *arguments: Any, **options: Any) -> Any:
        refuse_request(reader_refusal("registered_model"))
        return super().create_registered_model(*arguments, **options)

    def create_model_version(self, name: str, source: str, *arguments: Any, **options: Any) -> ModelVersion:
        refuse_request(_source_violation(source))
        return super().create_model_version(name, source, *arguments, **options)

    def delete_model_version(self, name: str, version: str) -> None:
        self._require_unprotected(name, version)
        super().delete_model_version(name, version)

    def delete_registered_model(self, name: str) -> None:
        self._require_unprotected(name)
        super().delete_registered_model(name)

    def protected_runs(self) -> dict[str, str]:
        """Return {id of a run: the protected alias that points to its model, in words}."""
        with self.ManagedSessionMaker(read_only=False) as session:
            pointing = session.query(SqlRegisteredModelAlias.alias, SqlModelVersion).join(
                SqlModelVersion,
                (SqlModelVersion.workspace == SqlRegisteredModelAlias.workspace)
                & (SqlModelVersion.name == SqlRegisteredModelAlias.name)
                & (SqlModelVersion.version == SqlRegisteredModelAlias.version),
            )
            return {
                version.run_id: f"the alias {alias!r} of {version.name!r} (version {version.version})"
                for alias, version in pointing
                if version.run_id and is_protected(alias, self.policy)
            }

    def _require_unprotected(self, name: str, version: str | None = None) -> None:
        """Refuse to delete what a protected alias points to: *version* of a model, or any version if None."""
        pointing = self.get_registered_model(name).aliases
        for alias, number in sorted(pointing.items()):
            if is_protected(alias, self.policy) and (version is None or str(version) == str(number)):
                problem = f"{alias!r} points to version {number} of {name!r}, so that cannot be deleted"
                refuse_request(Violation(GATE, problem, "let the alias point to another version, or delete it first"))

    def _alias_violation(self, version: ModelVersion, alias: str) -> Violation | None:
        """Return why the protected *alias* may not point to *version*, if so."""
        tracking = _get_store(os.environ.get("_MLFLOW_SERVER_FILE_STORE") or self.db_uri)
        what = f"{alias!r} cannot point to version {version.version} of {version.name!r}"
        run_id = version.run_id
        if not run_id:
            fix = "register it from the run that logged it"
            return Violation(GATE, f"{what}: it does not name the run that logged it", fix)
        if (run := _find(tracking.get_run, run_id)) is None:
            fix = "register it from a run that exists"
            return Violation(GATE, f"{what}: its run {run_id} does not exist", fix)
        problem = self._model_problem(version, run, tracking) or self._reproduction_problem(run, tracking)
        return alias_refusal(what, problem, run_id) if problem else None

    def _model_problem(self, version: ModelVersion, run: Run, tracking: Gated) -> str | None:
        """Return a clause if *version* is not a model that *run* logged."""
        models = [_find(tracking.get_logged_model, output.model_id) for output in run.outputs.model_outputs]
        place = self.get_model_version_download_uri(version.name, version.version)
        return why_not_its_model(place, filter(None, models), run.info.run_id)

    def _reproduction_problem(self, run: Run, tracking: Gated) -> str | None:
        """Return a clause if the reproduction that the tags of *run* name does not confirm the run."""
        run_id = run.info.run_id
        by = run.data.tags.get(REPRODUCED_BY)
        if by is None:
            return f"nobody has reproduced its run {run_id}"
        if (reproduction := _find(tracking.get_run, by)) is None:
            return f"run {by}, which its run {run_id} names, does not exist"
        if current_login() is not None and not is_prover(reproduction.info.user_id, self.policy):
            return f"run {by} was made by {reproduction.info.user_id!r}, whom `policy.provers` does not name"
        for each in (run, reproduction):
            if problem := _run_problem(each, tracking):
                return problem
        return why_not_reproduced(_stored_run(run), _stored_run(reproduction), self.policy)


class GatedRegistry(GatedAliases, SqlAlchemyStore):
    """The registry of a server with one workspace, and of a database in a file."""


class GatedWorkspaceRegistry(GatedAliases, WorkspaceAwareSqlAlchemyStore):
    """The registry of a server with workspaces."""


def _source_violation(source: str) -> Violation | None:
    """Return why a server reads no model at *source*, if so: it would read it with its own keys, for anybody.

    MLflow has checked a path already: it must lie in the folder of its run.
    """
    scheme = urlsplit(source).scheme.lower()
    if "_MLFLOW_SERVER_FILE_STORE" not in os.environ or scheme in _OWN_SOURCES or is_local_uri(source):
        return None
    if scheme == "mlflow-artifacts" and is_kept_here(source):
        return None
    problem = f"{source[:200]!r} is no model that was logged here"
    return Violation(GATE, problem, "log the model in a run, and register it from there: models:/MODEL_ID")


def _run_problem(run: Run, tracking: Gated) -> str | None:
    """Return a clause if *run* has not finished, or could not finish now, with the tags and files that it has."""
    run_id = run.info.run_id
    if run.info.status != "FINISHED" or run.info.lifecycle_stage != "active":
        return f"run {run_id} is {run.info.status}, {run.info.lifecycle_stage}"
    return violation.problem if (violation := tracking.finish_violation(run_id)) else None


def _find(get: Callable[[str], Any], wanted: str) -> Any:
    """Return what *get* returns for the id *wanted*; None if nothing has that id."""
    try:
        return get(wanted)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _stored_run(run: Run) -> StoredRun:
    return StoredRun(run.info.run_id, run.data.tags, run.data.metrics)
