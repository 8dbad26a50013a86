"""The guard of the artifacts behind a tracking server: the files of a run that has ended stay as they are.

MLflow passes files on to their store by their path alone, without asking whose they are.
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
from .store import Gated, refuse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


# Seconds in which what is sent is taken to have come together with its request.
_AT_ONCE = 0.1
_WRITING = frozenset({"PUT", "POST", "DELETE", "PATCH"})
_FILES = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/(?:artifacts|mpu/(?:create|complete|abort))/(.*)", re.DOTALL)
_FILE_OF_RUN = re.compile(r"/ajax-api/2\.0/mlflow/upload-artifact/?")
_DIRECT = re.compile(r"/(?:ajax-)?api/2\.0/mlflow/artifacts/presigned-upload-url/?")
# Whose a file is, by MLflow's layout: EXPERIMENT/RUN/artifacts/..., EXPERIMENT/models/MODEL/artifacts/..., and traces.
_RUN = re.compile(r"(?:^|(?<=/))([0-9a-f]{32})/artifacts/(?=.)", re.DOTALL)
_MODEL = re.compile(r"(?:^|(?<=/))models/(m-[0-9a-f]{32})/artifacts/(?=.)", re.DOTALL)
_TRACE = re.compile(r"(?:^|(?<=/))traces/[^/]+/artifacts/(?=.)", re.DOTALL)


class ArtifactGuard:
    """An ASGI middleware that refuses to write or delete files of a run that has ended, or of nobody."""

    def __init__(self, app: "ASGIApp", store: Gated) -> None:
        self.app = app
        self.store = store

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "http" and scope["method"] in _WRITING:
            try:
                await self._judge(scope)
                await self.app(scope, self._judging(scope, receive), send)
            except MlflowException as error:
                answer = Response(
                    error.serialize_as_json(),
                    status_code=error.get_http_status_code(),
                    media_type="application/json",
                )
                await answer(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _judging(self, scope: "Scope", receive: "Receive") -> "Receive":
        """Return *receive*, which judges once more before the last piece is passed on: the run may have ended since."""
        began = time.monotonic()

        async def judged() -> "Message":
            message = await receive()
            if not message.get("more_body") and time.monotonic() - began > _AT_ONCE:
                await self._judge(scope)
            return message

        return judged

    async def _judge(self, scope: "Scope") -> None:
        path = scope["path"]
        if found := _FILES.search(path):
            await run_in_threadpool(self._require_open, found[1])
        elif _FILE_OF_RUN.search(path):
            for run_id in parse_qs(scope["query_string"].decode("latin-1")).get("run_uuid", []):
                await run_in_threadpool(self.store.require_open, run_id, "it takes no more files")
        elif _DIRECT.search(path):
            problem = "files go through the server, so that nobody can change them when their run has ended"
            refuse(Violation(GATE, problem, "log it in its run: mlflow.log_artifact(path)"))

    def _require_open(self, path: str) -> None:
        for run_id in self._owners(posixpath.normpath(validate_path_is_safe(path))):
            self.store.require_open(run_id, "its files stay as they are")

    def _owners(self, path: str) -> set[str]:
        """Return every run whose file is at *path*; one may lie inside the folder of another. A trace's has none."""
        models = {model[1] for model in _MODEL.finditer(path)}
        runs = {run[1] for run in _RUN.finditer(path)}
        runs |= {owner for model in models if (owner := self.store.get_logged_model(model).source_run_id)}
        if not (models or runs or _TRACE.search(path)):
            problem = f"{path[:200]!r} is no file of a run, and this server keeps no others"
            refuse(Violation(GATE, problem, "log it in a run: mlflow.log_artifact(path)"))
        return runs
