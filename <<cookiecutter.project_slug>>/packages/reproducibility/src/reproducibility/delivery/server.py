"""A tracking server as journals are shipped to it: each request is sent once, and its answer is one of three."""

import mimetypes
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from mlflow.utils.workspace_utils import WORKSPACE_HEADER_NAME

from ..errors import in_plain_words
from ..secrets import recordable

API = "/api/2.0/mlflow"
_FILES = "/api/2.0/mlflow-artifacts/artifacts"
# Seconds until a connection must be there, and until a server that is busy must answer.
_TIMEOUT = (5, 60)
_NOT_NOW = {401, 403, 408, 425, 429}
_TOO_LARGE = 413  # said by a proxy in front of the server; it would say the same again
# MLflow first asks whether a dataset is recorded and then adds it. When two runs do so at the same moment, the second
# one is refused with this error, and taken when it asks again.
_RACE = "IntegrityError"


class Away(Exception):
    """The server does not answer, or not now: what was sent is sent again later. The message says why."""


class RefusedByServer(Exception):
    """The server answered that it does not take this, and would answer the same again. The message says why.

    code: MLflow's code of the error.
    """

    def __init__(self, why: str, code: str = "") -> None:
        super().__init__(why)
        self.code = code

    @property
    def says_there_is_none(self) -> bool:
        """Whether what was asked for does not exist."""
        return self.code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)


class EntriesRefused(RefusedByServer):
    """The server refused something that the run logged, so the run became FAILED and not FINISHED."""


class Server:
    """The server at *uri*, whose login is in MLflow's variables. *workspace*: that of the run, if it has one."""

    def __init__(self, uri: str, workspace: str | None) -> None:
        self.uri = uri
        self.has_answered = False
        self._headers = {WORKSPACE_HEADER_NAME: workspace} if workspace else {}

    def ask(self, path: str, **parameters: str) -> dict[str, Any]:
        """Return the answer to a GET request; raises Away and RefusedByServer."""
        return self._send("GET", f"{API}/{path}", params=parameters)

    def tell(self, path: str, body: Mapping[str, Any], method: str = "POST") -> dict[str, Any]:
        """Return the answer to a request with the JSON *body*; raises Away and RefusedByServer."""
        return self._send(method, path, json=body)

    def put(self, file: Path, path: str) -> None:
        """Upload *file* as *path*, which begins with the experiment; raises Away and RefusedByServer."""
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        with open(file, "rb") as stream:
            # An empty stream would be sent in chunks, which some servers do not take.
            body: Any = stream if os.fstat(stream.fileno()).st_size else b""
            self._send("PUT", f"{_FILES}/{quote(path)}", data=body, headers={"Content-Type": kind})

    def _send(self, method: str, path: str, headers: Mapping[str, str] | None = None, **content: Any) -> dict[str, Any]:
        try:
            answer = http_request(
                get_default_host_creds(self.uri),
                path,
                method,
                max_retries=0,
                timeout=_TIMEOUT,
                raise_on_status=False,
                respect_retry_after_header=False,
                allow_redirects=False,  # to a page for logins, which would take an upload for a question
                extra_headers={**self._headers, **(headers or {})},
                **content,
            )
        except MlflowException as error:
            raise Away(in_plain_words(recordable(error))) from None
        try:
            said = answer.json()
        except ValueError:
            said = None
        self.has_answered = answer.status_code < 500
        if answer.status_code == 200:
            if isinstance(said, dict) or (method == "PUT" and not answer.content):
                return said or {}
            raise Away(f"what answers at {self.uri} is not MLflow")
        code = said.get("error_code") if isinstance(said, dict) else None
        why = str(said["message"]) if code in ErrorCode.keys() and said.get("message") else ""
        if answer.status_code == _TOO_LARGE and not why:
            raise RefusedByServer("it is larger than a proxy in front of the server lets through (error code 413)")
        if not why or answer.status_code in _NOT_NOW or answer.status_code >= 500 or _RACE in why:
            raise Away(f"{why} (error code {answer.status_code})".strip())
        raise RefusedByServer(why, code)
