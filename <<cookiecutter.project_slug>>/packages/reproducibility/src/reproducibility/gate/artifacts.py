"""The guard of the artifacts behind a tracking server: the files of a run that has ended stay as they are.

MLflow's server passes files on to their store by path alone. It does not check to which run a file belongs.
"""

import posixpath
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from mlflow.exceptions import MlflowException
from mlflow.utils.uri import validate_path_is_safe
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ..errors import GATE, Violation
from .store import Gated, refuse_request

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


# Seconds that a request body may arrive after its headers without a second check.
_AT_ONCE = 0.1
_WRITING = frozenset({"PUT", "POST", "DELETE", "PATCH"})
_FILES = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/(?:artifacts|mpu/(?:create|complete|abort))/(.*)", re.DOTALL)
_FILE_OF_RUN = re.compile(r"/ajax-api/2\.0/mlflow/upload-artifact/?")
_DIRECT = re.compile(r"/(?:ajax-)?api/2\.0/mlflow/artifacts/presigned-upload-url/?")
# To what a file belongs, by MLflow's layout: EXPERIMENT/RUN/artifacts/..., EXPERIMENT/models/MODEL/artifacts/...,
# EXPERIMENT/traces/TRACE/artifacts/...
_RUN = re.compile(r"(?:^|(?<=/))([0-9a-f]{32})/artifacts/(?=.)", re.DOTALL)
_MODEL = re.compile(r"(?:^|(?<=/))models/(m-[0-9a-f]{32})/artifacts/(?=.)", re.DOTALL)
_TRACE = re.compile(r"(?:^|(?<=/))traces/[^/]+/artifacts/(?=.)", re.DOTALL)


class ArtifactGuard:
    """An ASGI middleware. It refuses to write or delete files of a run that has ended, and files that no run owns."""

    def __init__(self, app: "ASGIApp", store: Gated) -> None:
        self.app = app
        self.store = store

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "http" and scope["method"] in _WRITING:
            try:
                await self._check(scope)
                await self.app(scope, self._checking(scope, receive), send)
            except MlflowException as error:
                answer = Response(
                    error.serialize_as_json(),
                    status_code=error.get_http_status_code(),
                    media_type="application/json",
                )
                await answer(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _checking(self, scope: "Scope", receive: "Receive") -> "Receive":
        """Return *receive* with one more check before the end of the body: the run may have ended meanwhile."""
        began = time.monotonic()

        async def checked() -> "Message":
            message = await receive()
            if not message.get("more_body") and time.monotonic() - began > _AT_ONCE:
                await self._check(scope)
            return message

        return checked

    async def _check(self, scope: "Scope") -> None:
        path = scope["path"]
        if found := _FILES.search(path):
            await run_in_threadpool(self._require_open, found[1])
        elif _FILE_OF_RUN.search(path):
            for run_id in parse_qs(scope["query_string"].decode("latin-1")).get("run_uuid", []):
                await run_in_threadpool(self.store.require_open, run_id, "it takes no more files")
        elif _DIRECT.search(path):
            problem = "files go through the server, so that nobody can change them after their run has ended"
            refuse_request(Violation(GATE, problem, "log it in its run: mlflow.log_artifact(path)"))

    def _require_open(self, path: str) -> None:
        for run_id in self._owners(posixpath.normpath(validate_path_is_safe(path))):
            self.store.require_open(run_id, "its files stay as they are")

    def _owners(self, path: str) -> set[str]:
        """Return every run that owns the file at *path*: a path may name one run inside the folder of another.

        The file of a trace belongs to no run.
        """
        models = {model[1] for model in _MODEL.finditer(path)}
        runs = {run[1] for run in _RUN.finditer(path)}
        runs |= {owner for model in models if (owner := self.store.get_logged_model(model).source_run_id)}
        if not (models or runs or _TRACE.search(path)):
            problem = f"{path[:200]!r} belongs to no run, and this server keeps only files of runs"
            refuse_request(Violation(GATE, problem, "log it in a run: mlflow.log_artifact(path)"))
        return runs
