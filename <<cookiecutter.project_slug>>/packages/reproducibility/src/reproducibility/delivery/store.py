"""The durable store: MLflow's client of a tracking server, through which nothing that a run said is lost.

What is logged into a run that this machine began is in the run's journal when the call returns. A thread ships the
journal. What reads the run ships first, so that a program reads what it wrote; while the server is away, the journal
answers. Requests about anything else pass through.
"""

import json
import math
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from mlflow.entities import (
    LoggedModel,
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
    Param,
    Run,
    RunInfo,
    RunStatus,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import get_logged_model_endpoint
from mlflow.utils.workspace_context import get_request_workspace

from ..display import shown_path
from ..errors import in_plain_words, is_outage_message, refuse
from ..process import this_process
from ..rules import ending_refusal, token_refusal
from ..secrets import without_credentials
from ..tags import (
    FAILURE_TAG,
    MLFLOW_TAGS,
    MODEL_ID_TAG,
    OFFLINE_TAG,
    PARENT_TAG,
    PROVENANCE_TAGS,
    REPRODUCES,
    RUN_ID_TAG,
    TOKEN_TAG,
)
from . import offline, registry, shipper
from .artifacts import DurableArtifacts, keep_repository
from .entry import point
from .journal import JOURNAL_VARIABLE, Ended, Header, Journal, root
from .limits import check_metric, checked, refuse_entry, require_same
from .server import Away, EntriesRefused, RefusedByServer
from .view import history_in, info_in, run_in, said_by_this_process

# Seconds without progress after which the end of a run goes on without the server, and the variable for other ones.
_END_PATIENCE_S = 60.0
PATIENCE_VARIABLE = "REPRODUCIBILITY_PATIENCE"
# Requests about a run or a model that are kept in the journal, beside those with a method of their own below.
_KEPT = {"LogInputs", "LogOutputs", "SetLoggedModelTags", "LogLoggedModelParamsRequest"}
# Tags that say where a run comes from. The gate refuses most changes of them.
_ORIGIN = PROVENANCE_TAGS | MLFLOW_TAGS.keys() | {PARENT_TAG, REPRODUCES}
_SEARCHES = {"SearchRuns", "SearchLoggedModels"}


T = TypeVar("T")
_FLUENT = "mlflow.tracking.fluent"


class DurableStore(RestStore):
    """MLflow's RestStore for *uri*. Its methods raise what RestStore raises, and OSError where the disk is full."""

    def __init__(self, uri: str) -> None:
        super().__init__(partial(get_default_host_creds, uri))
        self.uri = without_credentials(uri)

    # --- The beginning of a run.

    def create_run(
        self, experiment_id: str, user_id: str, start_time: int, tags: Sequence[RunTag], run_name: str
    ) -> Run:
        _end_patience_s()  # a wrong one is told before the run begins
        run_id = uuid.uuid4().hex
        given = {tag.key: tag.value for tag in tags}
        parent = self._journal(given.get(PARENT_TAG, ""))
        header = Header(
            uri=self.uri,
            process=this_process(),
            experiment_id=experiment_id,
            artifact_uri="",
            user_id=user_id,
            start_time=start_time,
            run_name=run_name or f"run-{run_id[:8]}",
            tags=given | {RUN_ID_TAG: run_id},
            experiment=offline.experiment_name(experiment_id),
            parent=parent.run_id if parent else None,
            workspace=get_request_workspace(),
        )
        if header.experiment is not None:
            header = replace(header, tags=header.tags | {OFFLINE_TAG: "true"})
            return self._begin_alone(run_id, header, offline.artifact_uri(f"{run_id}/artifacts"))
        journal = _create(run_id, header)
        try:
            run = super().create_run(experiment_id, user_id, start_time, [*tags, RunTag(RUN_ID_TAG, run_id)], run_name)
        except MlflowException as error:
            if not is_outage_message(str(error)):
                journal.remove()
                raise
            if parent is None or not parent.header.is_gated:
                # The server may have begun the run all the same. Then the run is ended when the server is back.
                journal.append({"log": {"tags": {FAILURE_TAG: "the answer of the server to its beginning was lost"}}})
                journal.append({"end": {"status": "FAILED", "end_time": start_time}})
                shipper.settle_later(journal)
                raise
            journal.remove()
            return self._begin_alone(run_id, header, parent.header.artifact_uri.replace(parent.run_id, run_id))
        is_gated = run.info.run_id == run_id
        if not is_gated:  # a server without the gate chooses the id
            journal.remove()
            journal = _create(run.info.run_id, header)
        journal.update(
            experiment_id=run.info.experiment_id,
            artifact_uri=run.info.artifact_uri,
            run_name=run.info.run_name,
            tags=run.data.tags,
            is_created=True,
            is_gated=is_gated,
        )
        self._open(journal)
        return run

    def _begin_alone(self, run_id: str, header: Header, artifact_uri: str) -> Run:
        """Begin a run without the server, which gets the run later."""
        journal = _create(run_id, replace(header, artifact_uri=artifact_uri, is_gated=True))
        self._open(journal)
        return run_in(journal)

    def _open(self, journal: Journal) -> None:
        registry.add(journal)
        if journal.header.experiment is None:
            shipper.add(journal)
        if journal.header.artifact_uri.startswith("mlflow-artifacts:"):
            keep_repository(journal.run_id, DurableArtifacts(journal.header.artifact_uri, self.uri))

    def _journal(self, run_id: str) -> Journal | None:
        """Return the journal of a run that was begun on this machine for this server and goes on; else None."""
        journal = registry.journal_of(run_id)
        return journal if journal is not None and journal.header.uri == self.uri else None

    # --- What a run says.

    def log_metric(self, run_id: str, metric: Metric) -> None:
        if (journal := self._journal(run_id)) is None:
            return super().log_metric(run_id, metric)
        check_metric(metric.key, metric.value, metric.timestamp, metric.step)
        self._append(journal, {"log": {"metrics": [point(metric)]}})

    def log_param(self, run_id: str, param: Param) -> None:
        if self._journal(run_id) is None:
            return super().log_param(run_id, param)
        self.log_batch(run_id, [], [param], [])

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        if self._journal(run_id) is None:
            return super().set_tag(run_id, tag)
        self.log_batch(run_id, [], [], [tag])

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> None:
        if (journal := self._journal(run_id)) is None:
            return super().log_batch(run_id, metrics, params, tags)
        metrics, params, tags = checked(metrics, params, tags)
        if _ORIGIN & {tag.key for tag in tags} and shipper.is_shipped(journal):
            return super().log_batch(run_id, metrics, params, tags)  # whether this may change, the server says at once
        for tag in tags:
            if tag.key == TOKEN_TAG and (violation := token_refusal(journal.header.tags, tag.value, run_id)):
                raise MlflowException(str(violation), INVALID_PARAMETER_VALUE)
        for param in params:
            require_same(journal.params, param.key, param.value, run_id)
        kinds = {
            "metrics": [point(metric) for metric in metrics],
            "params": {param.key: param.value for param in params},
            "tags": {tag.key: tag.value for tag in tags},
        }
        entry = {"log": {kind: items for kind, items in kinds.items() if items}}
        if kinds["tags"].keys() & {FAILURE_TAG, TOKEN_TAG}:
            try:
                journal.append_last(entry)
            except FileNotFoundError:  # the journal was deleted: the run cannot succeed, and the server learns why
                if FAILURE_TAG not in kinds["tags"]:
                    raise
                self._closed(journal)
                return super().log_batch(run_id, metrics, params, tags)
        else:
            self._append(journal, entry, is_note=entry["log"].keys() <= {"tags"})
        journal.params |= kinds["params"]
        journal.tags |= kinds["tags"]

    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> RunInfo:
        journal = self._journal(run_id)
        if journal is None or run_status is None or (status := RunStatus.to_string(run_status)) == "RUNNING":
            return super().update_run_info(run_id, run_status, end_time, run_name)
        tags = journal.header.tags | journal.tags
        if violation := ending_refusal(tags, run_id, status):
            raise MlflowException(str(violation), INVALID_PARAMETER_VALUE)
        renamed = {"run_name": run_name} if run_name else {}
        journal.end({"end": {"status": status, "end_time": end_time or _now_ms(), **renamed}})
        journal.flush()
        if journal.header.experiment is None:
            self._end(journal, _end_patience_s() if status == "FINISHED" else shipper.READ_PATIENCE_S)
        elif journal.is_own:
            shipper.leave(journal)
        return info_in(journal, status, end_time)

    def _end(self, journal: Journal, patience_s: float) -> None:
        """Ship the run with its end; where the server stays away, leave that to the thread and to `repro sync`.

        A run inside another one does not wait for a server that is away: its end is shipped before that of the other.
        """
        is_outer = not journal.header.parent or self._journal(journal.header.parent) is None
        if not is_outer and shipper.is_away(journal):
            patience_s = 0.0
        try:
            shipper.deliver_with_bar(journal, patience_s)
        except Away as error:
            shipper.note(journal, error)
            if is_outer:
                shipper.leave(journal)
            return
        except EntriesRefused as refused:
            self._closed(journal)
            shipper.refuse_run(journal, str(refused))
        except RefusedByServer as refused:
            if journal.exists:
                journal.reopen()
            else:
                self._closed(journal)
            raise MlflowException(str(refused), INVALID_PARAMETER_VALUE) from None
        self._closed(journal)

    def _closed(self, journal: Journal) -> None:
        shipper.drop(journal)
        registry.remove(journal)

    # --- Models of a run.

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: list[LoggedModelTag] | None = None,
        params: list[LoggedModelParameter] | None = None,
        model_type: str | None = None,
    ) -> LoggedModel:
        journal = self._journal(source_run_id or "")
        if journal is None or not journal.header.is_gated:
            return super().create_logged_model(experiment_id, name, source_run_id, tags, params, model_type)
        model_id = f"m-{uuid.uuid4().hex}"
        place = journal.header.artifact_uri.removesuffix(f"{journal.run_id}/artifacts")
        model = LoggedModel(
            experiment_id=experiment_id,
            model_id=model_id,
            name=name or f"model-{model_id[2:10]}",
            artifact_location=f"{place}models/{model_id}/artifacts",
            creation_timestamp=_now_ms(),
            last_updated_timestamp=_now_ms(),
            model_type=model_type,
            source_run_id=source_run_id,
            status=LoggedModelStatus.PENDING,
            tags=tags,
            params=params,
        )
        body = {
            "experiment_id": experiment_id,
            "name": model.name,
            "model_type": model_type,
            "source_run_id": source_run_id,
            "tags": [
                {"key": tag.key, "value": tag.value} for tag in [*(tags or []), LoggedModelTag(MODEL_ID_TAG, model_id)]
            ],
            "params": [{"key": param.key, "value": param.value} for param in params or []],
        }
        registry.add_model(journal, model)
        self._keep(journal, "/api/2.0/mlflow/logged-models", "POST", body)
        keep_repository(model_id, DurableArtifacts(model.artifact_location, self.uri))
        return model

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus) -> LoggedModel:
        if (made_here := registry.model_of(model_id)) is None:
            return super().finalize_logged_model(model_id, status)
        journal, model = made_here
        self._keep(
            journal, get_logged_model_endpoint(model_id), "PATCH", {"model_id": model_id, "status": status.to_proto()}
        )
        model.status = status
        return model

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> LoggedModel:
        ask = partial(super().get_logged_model, model_id, allow_deleted)
        if (made_here := registry.model_of(model_id)) is None:
            return ask()
        journal, model = made_here
        return self._read(journal, ask, lambda: model)

    # --- What reads a run.

    def get_run(self, run_id: str) -> Run:
        ask = partial(super().get_run, run_id)
        if (journal := self._journal(run_id)) is None:
            return ask()
        if _is_asked_by_log_metric():
            return said_by_this_process(journal)
        return self._read(journal, ask, lambda: run_in(journal))

    def get_metric_history(
        self, run_id: str, metric_key: str, max_results: int | None = None, page_token: str | None = None
    ) -> PagedList[Metric]:
        ask = partial(super().get_metric_history, run_id, metric_key, max_results, page_token)
        if (journal := self._journal(run_id)) is None:
            return ask()
        return self._read(journal, ask, lambda: PagedList(history_in(journal, metric_key), None))

    def _read(self, journal: Journal, ask: Callable[[], T], as_said_here: Callable[[], T]) -> T:
        """Return the answer of the server that has all of the journal; without the server, that of the journal."""
        if shipper.is_shipped(journal):
            try:
                return ask()
            except MlflowException as error:
                if not is_outage_message(str(error)):
                    raise
                shipper.note(journal, Away(in_plain_words(str(error))))
        return as_said_here()

    def _call_endpoint(
        self, api: Any, json_body: str | None = None, endpoint: str | None = None, *more: Any, **options: Any
    ) -> Any:
        """Pass a request on, after what the journal of its run holds; or keep the request in the journal."""
        name = api.DESCRIPTOR.name
        journals = self._about(json.loads(json_body or "{}"), endpoint or "")
        if name in _KEPT and journals:
            path, method = self._METHOD_TO_INFO[api]
            self._keep(journals[0], endpoint or path, method, json.loads(json_body))
            return api.Response()
        for journal in journals or (registry.journals() if name in _SEARCHES else []):
            shipper.is_shipped(journal)
        return super()._call_endpoint(api, json_body, endpoint, *more, **options)

    def _about(self, body: Mapping[str, Any], endpoint: str) -> list[Journal]:
        """Return the journal of the run or the model that a request is about, if it has one."""
        model_id = endpoint.partition("/logged-models/")[2].partition("/")[0]
        if (made_here := registry.model_of(model_id)) is not None:
            return [made_here[0]]
        journal = self._journal(str(body.get("run_id", "")))
        return [journal] if journal is not None else []

    def _append(self, journal: Journal, entry: Mapping[str, Any], *, is_note: bool = False) -> None:
        try:
            journal.append(entry, is_note=is_note)
        except Ended:
            refuse_entry(journal.run_id)

    def _keep(self, journal: Journal, path: str, method: str, body: Mapping[str, Any]) -> None:
        self._append(journal, {"path": path, "method": method, "body": body})


def _create(run_id: str, header: Header) -> Journal:
    try:
        return Journal.create(run_id, header)
    except OSError as error:
        fix = f"make room, or name another folder in {JOURNAL_VARIABLE}"
        refuse(shown_path(root()), f"the journal of the run cannot be kept there: {error.strerror}", fix)


def _is_asked_by_log_metric() -> bool:
    """Whether `mlflow.log_metric(..., run_id=...)` asks for a run. It does so at each call, and needs the id only."""
    frame = sys._getframe(2)
    for _ in range(5):
        if frame is None:
            return False
        if frame.f_code.co_name in ("log_metric", "log_metrics") and frame.f_globals["__name__"] == _FLUENT:
            return True
        frame = frame.f_back
    return False


def _end_patience_s() -> float:
    named = os.environ.get(PATIENCE_VARIABLE)
    try:
        seconds = _END_PATIENCE_S if not named else float(named)
        if not 0 <= seconds < math.inf:
            raise ValueError
        return seconds
    except ValueError:
        refuse(PATIENCE_VARIABLE, f"{named[:40]!r} is no number of seconds", "write a number, such as 60, or unset it")


def _now_ms() -> int:
    return int(time.time() * 1000)
