"""The guard of the artifacts behind a tracking server: the files of a run that has ended stay as they are.

MLflow's server passes files on to their store by path alone. It does not check to which run a file belongs. FastAPI
answers most uploads, behind `ArtifactGuard`; Flask answers the rest, behind `guard_flask`. Both come after MLflow has
checked the login.
"""

import posixpath
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from mlflow.exceptions import MlflowException
from mlflow.utils.uri import validate_path_is_safe
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ..errors import GATE, Violation
from .locks import RunLock
from .logins import sender
from .store import Gated, refuse_request

if TYPE_CHECKING:
    from flask import Flask
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


# Seconds that a request body may arrive after its headers without a second look into the database: another process may
# have ended the run there.
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


class Upload:
    """One request that writes files of some runs. It is refused if one of these runs has ended or ends meanwhile.

    Call `open`, then `start` when the server has the whole file, then `close`. Between `start` and `close`, while the
    server moves the file to its place, none of the runs can end.
    """

    def __init__(self, store: Gated) -> None:
        self._store = store
        self._opened: list[RunLock] = []
        self._started: list[RunLock] = []
        self._began = time.monotonic()

    def open(self, runs: Iterable[str]) -> None:
        """Raise MlflowException if one of *runs* has ended."""
        self._opened = [self._store.locks.open(run_id) for run_id in sorted(runs)]
        self._require_open()

    def start_at_once(self) -> bool:
        """Do what `start` does, unless it would have to wait or to ask the database: then return False."""
        if time.monotonic() - self._began > _AT_ONCE:
            return False
        for lock in self._opened:
            if not self._store.locks.start_writing(lock, wait=False):
                return False
            self._started.append(lock)
        return not any(lock.has_ended for lock in self._opened)

    def start(self) -> None:
        """Raise MlflowException if one of the runs has ended meanwhile; waits while somebody ends one."""
        for lock in self._opened[len(self._started) :]:
            self._store.locks.start_writing(lock)
            self._started.append(lock)
        self._require_open()

    def close(self) -> None:
        for lock in self._started:
            self._store.locks.stop_writing(lock)
        for lock in self._opened:
            self._store.locks.close(lock)
        self._started, self._opened = [], []

    def _require_open(self) -> None:
        for lock in self._opened:
            self._store.require_open(lock.run_id, "its files stay as they are")


class ArtifactGuard:
    """An ASGI middleware. It refuses to write files of a run that has ended, and files that no run owns."""

    def __init__(self, app: "ASGIApp", store: Gated) -> None:
        self.app = app
        self.store = store

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        found = scope["type"] == "http" and scope["method"] == "PUT" and _FILES.search(scope["path"])
        if not found:
            await self.app(scope, receive, send)
            return
        upload = Upload(self.store)
        sender.set(scope.get("state", {}).get("username"))

        async def checked() -> "Message":
            message = await receive()
            # The event loop itself never waits: what it waited for may need it.
            if not message.get("more_body") and not upload.start_at_once():
                await run_in_threadpool(upload.start)
            return message

        try:
            await run_in_threadpool(lambda: upload.open(owners(self.store, found[1])))
            await self.app(scope, checked, send)
        except MlflowException as error:
            answer = Response(
                error.serialize_as_json(),
                status_code=error.get_http_status_code(),
                media_type="application/json",
            )
            await answer(scope, receive, send)
        finally:
            upload.close()


def guard_flask(app: "Flask", store: Gated) -> None:
    """Let *app* check, before each request that writes files of a run, that the run has not ended."""
    from flask import g, request
    from mlflow.server.handlers import catch_mlflow_exception

    @catch_mlflow_exception
    def before() -> None:
        if request.method in _WRITING and (runs := _runs_written(store, request.path, request.query_string)):
            g.upload = Upload(store)
            g.upload.open(runs)
            if not g.upload.start_at_once():
                g.upload.start()

    def after(_: BaseException | None) -> None:
        if (upload := g.pop("upload", None)) is not None:
            upload.close()

    app.before_request(before)
    app.teardown_request(after)


def _runs_written(store: Gated, path: str, query: bytes) -> Iterable[str]:
    """Return the runs whose files a request to a route of Flask writes. Raises MlflowException as `owners` does."""
    if found := _FILES.search(path):
        return owners(store, found[1])
    if _FILE_OF_RUN.search(path):
        return parse_qs(query.decode("latin-1")).get("run_uuid", [])
    if _DIRECT.search(path):
        problem = "files go through the server, so that nobody can change them after their run has ended"
        refuse_request(Violation(GATE, problem, "log it in its run: mlflow.log_artifact(path)"))
    return ()


def owners(store: Gated, path: str) -> set[str]:
    """Return every run that owns the file at *path*: a path may name one run inside the folder of another.

    The file of a trace belongs to no run. Raises MlflowException for a file that belongs to nothing.
    """
    path = posixpath.normpath(validate_path_is_safe(path))
    models = {model[1] for model in _MODEL.finditer(path)}
    runs = {run[1] for run in _RUN.finditer(path)}
    runs |= {owner for model in models if (owner := store.get_logged_model(model).source_run_id)}
    if not (models or runs or _TRACE.search(path)):
        problem = f"{path[:200]!r} belongs to no run, and this server keeps only files of runs"
        refuse_request(Violation(GATE, problem, "log it in a run: mlflow.log_artifact(path)"))
    return runs
