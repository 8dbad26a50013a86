"""MLflow's stores in a database, with the gate in front of everything that writes. Only `plugin` opens them."""

import os
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from contextvars import ContextVar
from operator import attrgetter
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow.entities import LoggedModel, LoggedModelStatus, Param, Run, RunInfo, RunStatus, RunTag
from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
    ErrorCode,
)
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.store.tracking.dbmodels.models import SqlParam, SqlRun, SqlTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.tracking.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore
from mlflow.utils.mlflow_tags import MLFLOW_ARTIFACT_LOCATION
from sqlalchemy import bindparam, func, select
from sqlalchemy.exc import OperationalError

from ..errors import GATE, Violation
from ..evidence import MANIFEST
from ..policy import Policy
from ..rules import (
    CLOSED,
    CLOSED_TAGS,
    change_refusal,
    creation_refusal,
    creation_violation,
    ending_refusal,
    finish_refusal,
    frozen,
    id_refusal,
    inherited,
    membership_refusal,
    noted,
    outward,
    token_refusal,
    why_unsuccessful,
)
from ..secrets import recordable
from ..tags import (
    FAILURE_TAG,
    MODEL_ID_TAG,
    OWN_VERDICT_TAGS,
    PARENT_TAG,
    PROCESS_TAG,
    REPRODUCES,
    RESTATED,
    RUN_ID_TAG,
    TOKEN_DIGEST_TAG,
    TOKEN_TAG,
    VERDICT_TAGS,
    VIOLATIONS_TAG,
)
from .chosen_id import chosen_id
from .guarded import GuardedRun, TooLarge, evidence
from .locks import RunLocks
from .logins import current_login, ownership_refusal, prover_refusal, reader_refusal
from .promoted import deletion_refusal

_STATE = select(SqlRun.status, SqlRun.user_id).where(SqlRun.run_uuid == bindparam("run_id"))
# True while a note is written (a tag of the team's own, a name): a run that has ended takes notes too.
_writing_note: ContextVar[bool] = ContextVar("writing_note", default=False)
# True while a run may change its RESTATED tags.
_restating: ContextVar[bool] = ContextVar("restating", default=False)


def open_store(store_uri: str, artifact_uri: str | None, policy: Policy) -> "Gated":
    """Return the store for a database as MLflow's own builders do, on a server and elsewhere."""
    artifacts = artifact_uri or os.environ.get("_MLFLOW_SERVER_ARTIFACT_ROOT") or DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    kind = GatedWorkspaceStore if MLFLOW_ENABLE_WORKSPACES.get() else GatedStore
    return kind(policy, store_uri, artifacts, os.environ.get("_MLFLOW_SERVER_READ_REPLICA_BACKEND_STORE"))


def refuse_request(violation: Violation | None) -> None:
    """Raise *violation*, if there is one, as the error of a bad request: no client sends such a request again."""
    if violation is not None:
        raise MlflowException(str(violation), INVALID_PARAMETER_VALUE)


def is_kept_here(location: str | None) -> bool:
    """Whether *location* of files is one that this server keeps itself, and so guards; None is the place it chooses."""
    if not location:
        return True
    parsed = urlsplit(location)
    path = unquote(parsed.path)
    is_plain = path.startswith("/") and ".." not in path.split("/") and not (parsed.netloc or parsed.query)
    return parsed.scheme == "mlflow-artifacts" and is_plain


@contextmanager
def _set(state: ContextVar[bool]) -> Iterator[None]:
    token = state.set(True)
    try:
        yield
    finally:
        state.reset(token)


class Gated:
    """The gate, a mixin for MLflow's stores. The methods of MLflow that it relies on are tested for the pinned MLflow.

    MLflow's methods that write to a run call `_check_run_is_active` first. There the gate refuses a write to a run that
    has ended, unless the write is a note. A run can be deleted unless a protected alias rests on it: MLflow only hides
    a deleted run and can restore it, but `mlflow gc` removes hidden runs for good.
    """

    def __init__(self, policy: Policy, *arguments: Any) -> None:
        self.policy = policy
        self.frozen = frozen(policy)
        self.locks = RunLocks()
        super().__init__(*arguments)

    def create_experiment(self, name: str, artifact_location: str | None = None, tags: list[Any] | None = None) -> str:
        refuse_request(reader_refusal("experiment"))
        if os.environ.get("_MLFLOW_SERVER_SERVE_ARTIFACTS") == "true" and not is_kept_here(artifact_location):
            problem = f"no run can keep files in {artifact_location[:200]!r}, where the gate could not guard them"
            refuse_request(Violation(GATE, problem, "create the experiment without an artifact_location"))
        if "_MLFLOW_SERVER_FILE_STORE" not in os.environ:  # MLflow would keep files in the working folder
            # Imported here: this module must load without a project too, so that its databases are refused.
            from ..tracking.store import artifacts_beside

            artifact_location = artifact_location or artifacts_beside(self.db_uri)
        return super().create_experiment(name, artifact_location, tags)

    def create_run(self, experiment_id: str, user_id: str, start_time: int, tags: list[RunTag], run_name: str) -> Run:
        given = {tag.key: tag.value for tag in tags or []}
        chosen = given.pop(RUN_ID_TAG, None)
        if chosen and (begun := self._begun(chosen, given)):
            return begun
        if parent := given.get(PARENT_TAG):
            self.require_open(parent, "no run can be added inside it")
            if TOKEN_DIGEST_TAG not in given:  # not by `tracked_run`, which has gathered provenance for this run alone
                around = self._recorded(parent)
                refuse_request(membership_refusal(given, around.tags, parent))
                given = inherited(given, around.tags)
                # A worker knows only the team's experiment, and a client may have named any.
                experiment_id = around.experiment_id
        if login := current_login():
            given["mlflow.user"] = given.get("author", "")
        refuse_request(creation_refusal(given, self.policy, login))
        if broken := creation_violation(given, self.policy):  # and the policy only records that
            given[VIOLATIONS_TAG] = noted(given, broken.problem)
        own = [RunTag(key, value) for key, value in given.items()]
        with chosen_id(chosen):
            return super().create_run(experiment_id, login or user_id, start_time, own, run_name)

    def _begun(self, run_id: str, given: Mapping[str, str]) -> Run | None:
        """Return the run *run_id* if its client asks for it again, because it lost the answer; None if it is free."""
        refuse_request(id_refusal(run_id))
        with self.ManagedSessionMaker(read_only=False) as session:
            if session.get(SqlRun, run_id) is None:
                return None
        tags = self._recorded(run_id).tags
        same_client = all(tags.get(key) == given.get(key) for key in (PROCESS_TAG, TOKEN_DIGEST_TAG))
        if not same_client or self.status(run_id) in CLOSED:
            refuse_request(Violation(GATE, f"there is another run {run_id}", "leave the id out, or choose another one"))
        return self.get_run(run_id)

    def delete_run(self, run_id: str) -> None:
        self._require_own(run_id, "it is not deleted")
        refuse_request(deletion_refusal(self, f"run {run_id}", SqlRun.run_uuid == run_id))
        super().delete_run(run_id)

    def delete_experiment(self, experiment_id: str) -> None:
        number = int(self.get_experiment(experiment_id).experiment_id)
        if current_login() is not None:
            self._require_own_runs(number)
        refuse_request(deletion_refusal(self, f"experiment {number}", SqlRun.experiment_id == number))
        super().delete_experiment(experiment_id)

    def update_run_info(self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None) -> Any:
        self._require_own(run_id, "it neither ends nor changes its name")
        if run_status is None:
            return self._rename(run_id, run_name)
        wanted = RunStatus.to_string(run_status)
        if self.locks.is_writing(run_id) or wanted == self.status(run_id):
            # A new name, or a client that lost the answer and reports the same end again. The status is not written: it
            # may have changed since it was read.
            return self._rename(run_id, run_name)
        if run_name:
            self._rename(run_id, run_name)
        with self.locks.ending(run_id) as lock:
            info, violation = self._change_status(run_id, wanted, end_time)
            lock.has_ended = info.status in CLOSED
        refuse_request(violation)
        return info

    def _change_status(self, run_id: str, wanted: str, end_time: int | None) -> tuple[RunInfo, Violation | None]:
        """Give a run the status *wanted*, or FAILED if it may not finish; return the run and why it may not.

        A policy that only records what breaks it lets the run finish, with a tag that says so.

        Raises MlflowException, and changes nothing, if the run may not end now or has ended already. What the run is
        judged by is read in the transaction that writes the status.
        """
        with self.ManagedSessionMaker(read_only=False) as session:
            row = self._get_run(session, run_id)
            super()._check_run_is_active(row)
            now, run = row.status, _guarded(row)
            if now in CLOSED:
                refuse_request(change_refusal(f"it cannot become {wanted}", run_id, now))
            if wanted in CLOSED:
                refuse_request(ending_refusal(run.tags, run_id, wanted))
            violation = self._finish_violation(run) if wanted == "FINISHED" else None
            if violation and self.policy.enforce == "record" and why_unsuccessful(run.tags) is None:
                session.merge(SqlTag(run_uuid=run_id, key=VIOLATIONS_TAG, value=noted(run.tags, violation.problem)))
                violation = None
            elif violation:
                wanted = "FAILED"
                session.merge(SqlTag(run_uuid=run_id, key=FAILURE_TAG, value=recordable(violation)))
            values = {"status": wanted} | ({"end_time": end_time} if end_time is not None else {})
            still_open = session.query(SqlRun).filter(SqlRun.run_uuid == run_id, SqlRun.status == now)
            if not still_open.update(values):  # by another process, which writes to the same file
                session.refresh(row)
                refuse_request(change_refusal(f"it cannot become {wanted}", run_id, row.status))
            return row.to_mlflow_entity().info, violation

    def log_batch(self, run_id: str, metrics: list[Any], params: list[Any], tags: list[RunTag]) -> None:
        with self.locks.writing(run_id):
            if not metrics and not params:
                with _set(_writing_note):
                    return super().log_batch(run_id, metrics, params, tags)
            if params and any(tag.key in RESTATED for tag in tags) and self._has_no_params(run_id):
                with _set(_restating):
                    return super().log_batch(run_id, metrics, params, tags)
            return super().log_batch(run_id, metrics, params, tags)

    def log_param(self, run_id: str, param: Param) -> None:
        with self.locks.writing(run_id):
            super().log_param(run_id, param)

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        with self.locks.writing(run_id), _set(_writing_note):
            self._require_free(run_id, {tag.key: tag.value})
            super().set_tag(run_id, tag)

    def _set_tags(self, run_id: str, tags: list[RunTag]) -> None:
        with self.locks.writing(run_id), _set(_writing_note):
            self._require_free(run_id, {tag.key: tag.value for tag in tags})
            super()._set_tags(run_id, tags)

    def delete_tag(self, run_id: str, key: str) -> None:
        with self.locks.writing(run_id), _set(_writing_note):
            self._require_free(run_id, {key: None})
            super().delete_tag(run_id, key)

    def create_logged_model(self, experiment_id: str, *arguments: Any, **options: Any) -> Any:
        names = ("name", "source_run_id", "tags", "params", "model_type")
        given = dict(zip(names, arguments, strict=False)) | options
        if source_run := given.get("source_run_id"):
            self.require_open(source_run, "it takes no more models")
        tags = {tag.key: tag for tag in given.get("tags") or []}
        chosen = tags.pop(MODEL_ID_TAG).value if MODEL_ID_TAG in tags else None
        if chosen:
            refuse_request(id_refusal(chosen.removeprefix("m-")))
            if (made := self._made(chosen)) is not None:
                if made.source_run_id != source_run:
                    refuse_request(Violation(GATE, f"there is another model {chosen}", "choose another id"))
                return made
        with chosen_id(chosen and chosen.removeprefix("m-")):
            return super().create_logged_model(experiment_id, **{**given, "tags": list(tags.values())})

    def _made(self, model_id: str) -> LoggedModel | None:
        try:
            return self.get_logged_model(model_id)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            return None

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
                refuse_request(Violation(GATE, problem, "log it inside that run: mlflow.<library>.log_model(...)"))
        super().log_outputs(run_id, models)

    def _log_model_metrics(self, run_id: str, metrics: list[Any], *arguments: Any, **options: Any) -> None:
        for model_id in {metric.model_id for metric in metrics} - {None}:
            source_run = self.get_logged_model(model_id).source_run_id
            if source_run and source_run != run_id:
                self.require_open(source_run, "its models take no more metrics")
        super()._log_model_metrics(run_id, metrics, *arguments, **options)

    def set_trace_tag(self, trace_id: str, key: str, value: str) -> None:
        if key == MLFLOW_ARTIFACT_LOCATION:
            problem = f"the server reads the files of trace {trace_id} where it put them, and nowhere else"
            refuse_request(Violation(GATE, problem, f"leave the tag {key} as it is"))
        super().set_trace_tag(trace_id, key, value)

    def _check_run_is_active(self, run: SqlRun) -> None:
        super()._check_run_is_active(run)
        if not _writing_note.get():
            what = "it takes no more metrics, params, inputs or models"
            if run.status in CLOSED:
                refuse_request(change_refusal(what, run.run_uuid, run.status))
            refuse_request(ownership_refusal(run.run_uuid, run.user_id or "", what))

    def status(self, run_id: str) -> str:
        """Return the status of a run, e.g. ``RUNNING``; raises MlflowException if the run does not exist."""
        return self._state(run_id)[0]

    def _state(self, run_id: str) -> tuple[str, str]:
        """Return the status of a run and whose it is."""
        # Asked for every upload. A session of MLflow, with its settings for SQLite, takes ten times as long.
        try:
            with self.engine.connect() as connection:
                row = connection.execute(_STATE, {"run_id": run_id}).one_or_none()
        except OperationalError as error:
            raise MlflowException(error, TEMPORARILY_UNAVAILABLE) from error
        if row is None:
            raise MlflowException(f"Run with id={run_id} not found", RESOURCE_DOES_NOT_EXIST)
        return row.status, row.user_id or ""

    def require_open(self, run_id: str, what: str) -> None:
        """Raise MlflowException if the run has ended, or is not the run of who is logged in.

        *what* is a clause such as ``it takes no more files``.
        """
        status, owner = self._state(run_id)
        if status in CLOSED:
            refuse_request(change_refusal(what, run_id, status))
        refuse_request(ownership_refusal(run_id, owner, what))

    def _require_own(self, run_id: str, what: str) -> None:
        if current_login() is not None:
            refuse_request(ownership_refusal(run_id, self._state(run_id)[1], what))

    def _require_own_runs(self, experiment: int) -> None:
        """Refuse to delete an experiment that has a run of somebody else."""
        with self.ManagedSessionMaker(read_only=False) as session:
            owners = session.query(SqlRun.user_id, func.min(SqlRun.run_uuid)).filter(SqlRun.experiment_id == experiment)
            found = owners.group_by(SqlRun.user_id).all()
        for owner, run_id in found:
            refuse_request(ownership_refusal(run_id, owner or "", f"experiment {experiment} is not deleted"))

    def _require_free(self, run_id: str, wanted: Mapping[str, str | None]) -> None:
        """Refuse to change a frozen tag. *wanted*: {tag: its new value, or None to delete the tag}."""
        asked = wanted.keys() & (self.frozen - RESTATED if _restating.get() else self.frozen)
        recorded = wanted.keys() & CLOSED_TAGS
        self._require_verdict_allowed(run_id, wanted.keys())
        if not asked and not recorded:
            return
        tags = self._recorded(run_id).tags
        if late := sorted(tag for tag in recorded if tags.get(tag) != wanted[tag]):
            self.require_open(run_id, f"{', '.join(late)} cannot change now")
        if any(tags.get(key) != wanted[key] for key in asked):
            self._require_own(run_id, f"{', '.join(sorted(asked))} cannot change")
        differing = {key for key in asked if tags.get(key) != wanted[key]}
        if FAILURE_TAG in differing:
            if FAILURE_TAG in tags or self.status(run_id) == "FINISHED":
                self.require_open(run_id, f"its tag `{FAILURE_TAG}` stays as it is")
            differing.discard(FAILURE_TAG)
        if TOKEN_TAG in differing:
            refuse_request(token_refusal(tags, wanted[TOKEN_TAG], run_id))
        if REPRODUCES in differing and self._may_reproduce(tags, wanted[REPRODUCES]):
            differing.discard(REPRODUCES)
        if changed := sorted(differing & tags.keys()):
            problem = f"{', '.join(changed)} of run {run_id} say where it comes from, and that does not change"
            refuse_request(Violation(GATE, problem, "start a new run if it comes from somewhere else"))
        if added := sorted(differing):
            self.require_open(run_id, f"it cannot be given {', '.join(added)} now")
            if PARENT_TAG in added:
                self._require_outside(run_id, wanted[PARENT_TAG])

    def _require_verdict_allowed(self, run_id: str, tags: Set[str]) -> None:
        """Refuse verdicts of those whose verdicts do not count."""
        if tags & VERDICT_TAGS:
            refuse_request(prover_refusal(self.policy, f"the verdict on run {run_id}"))
        if tags & OWN_VERDICT_TAGS:
            self._require_own(run_id, "its verdict stays as it is")

    def _require_outside(self, run_id: str, parent: str) -> None:
        """Refuse to add a run inside *parent* if that has ended, or is the run itself or inside it."""
        self.require_open(parent, "no run can be added inside it")
        around = outward(self._recorded(parent), attrgetter("tags"), self._recorded)
        if any(run.run_id == run_id for run in around):
            problem = f"run {parent} is run {run_id} or inside it, so it cannot be around it"
            refuse_request(Violation(GATE, problem, "name another run as its parent"))

    def _may_reproduce(self, tags: Mapping[str, str], reproduced: str | None) -> bool:
        """Whether the tag `REPRODUCES` of a run with *tags* may become *reproduced*, or be deleted (None).

        It may become more exact: a nested run starts with the value of the run around it, and later names the nested
        run that it reproduces itself.
        """
        if reproduced is None:
            return True
        if PARENT_TAG not in tags:
            return False
        around = outward(self._recorded(reproduced), attrgetter("tags"), self._recorded)
        return any(run.run_id == tags.get(REPRODUCES) for run in around)

    def _rename(self, run_id: str, run_name: str | None) -> Any:
        with _set(_writing_note):
            return super().update_run_info(run_id, None, None, run_name)

    def _has_no_params(self, run_id: str) -> bool:
        with self.ManagedSessionMaker(read_only=False) as session:
            return session.query(SqlParam.key).filter(SqlParam.run_uuid == run_id).first() is None

    def finish_violation(self, run_id: str) -> Violation | None:
        """Return why a run may not count as finished, if so, by its tags, params and evidence as they are now."""
        return self._finish_violation(self._recorded(run_id))

    def _finish_violation(self, run: GuardedRun) -> Violation | None:
        try:
            for around in outward(run, attrgetter("tags"), self._recorded):
                if MANIFEST in (files := evidence(around)):
                    break
        except TooLarge as error:
            problem = f"run {run.run_id} cannot finish, because its evidence is too large: {error}"
            return Violation(GATE, problem, "record it with `tracked_run(config)`, which says so before the start")
        return finish_refusal(run.tags, around.params, files, self.policy)

    def _recorded(self, run_id: str) -> GuardedRun:
        with self.ManagedSessionMaker(read_only=False) as session:
            return _guarded(self._get_run(session, run_id))


class GatedStore(Gated, SqlAlchemyStore):
    """The store of a server with one workspace, and of a database in a file."""


class GatedWorkspaceStore(Gated, WorkspaceAwareSqlAlchemyStore):
    """The store of a server with workspaces."""


def _guarded(row: SqlRun) -> GuardedRun:
    tags, params = ({each.key: each.value for each in many} for many in (row.tags, row.params))
    return GuardedRun(row.run_uuid, str(row.experiment_id), row.artifact_uri, tags, params)
