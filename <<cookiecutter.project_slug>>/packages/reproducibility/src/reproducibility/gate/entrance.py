"""The entrance of the tracking server: what is checked of every request before MLflow reads it."""

import re
import zlib
from collections.abc import Collection
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse

from ..errors import GATE, Violation
from .features import closed_paths
from .guesses import Guesses

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Bytes of a request's body, also after it is decompressed. MLflow keeps a whole body in memory, before it asks for a
# login. Files go to disk piece by piece, and have no limit here.
MOST_BYTES = 16 * 1024 * 1024
_STREAMED = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts/.")
_COMPRESSED = ("gzip", "deflate")


class Entrance:
    """An ASGI middleware, the outermost. *features*: those of `features.FEATURES` that the policy turns on."""

    def __init__(self, app: "ASGIApp", features: Collection[str]) -> None:
        self.app = app
        self.closed = closed_paths(features)
        self.guesses = Guesses()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # h11 passes `put` on, which Flask takes for PUT. Whatever compares methods as texts must know it.
        scope["method"] = scope["method"].upper()
        if self.closed.match(scope["path"]):
            await PlainTextResponse("Not Found", 404)(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if login := headers.get(b"authorization"):
            sender = (scope.get("client") or ("",))[0]
            if self.guesses.are_too_many(sender, login):
                await PlainTextResponse(Guesses.ANSWER, 429)(scope, receive, send)
                return
            send = self.guesses.counting(sender, login, send)
        if scope["method"] == "PUT" and _STREAMED.match(scope["path"]):
            await self.app(scope, receive, send)
        else:
            await self._limited(scope, receive, send, headers)

    async def _limited(self, scope: "Scope", receive: "Receive", send: "Send", headers: dict[bytes, bytes]) -> None:
        """Let the app answer, unless the body of the request is too long."""
        if (stated := headers.get(b"content-length", b"0")).isdigit() and int(stated) > MOST_BYTES:
            await _too_long()(scope, receive, send)
            return
        length = Length(headers.get(b"content-encoding", b"").decode("latin-1"))
        has_answered = False

        async def counted() -> "Message":
            message = await receive()
            length.add(message.get("body", b""))
            if length.bytes > MOST_BYTES:
                raise BodyTooLong
            return message

        async def answering(message: "Message") -> None:
            nonlocal has_answered
            has_answered = True
            await send(message)

        try:
            await self.app(scope, counted, answering)
        except Exception:
            if has_answered or length.bytes <= MOST_BYTES:
                raise
            await _too_long()(scope, receive, send)


class BodyTooLong(Exception):
    """The body of a request has more bytes than MLflow may keep in memory."""


class Length:
    """The length of a body that arrives in pieces, decompressed as its header *encoding* says."""

    def __init__(self, encoding: str) -> None:
        self.bytes = 0
        # 47: of gzip or of zlib, whichever it is. A raw stream of `deflate` fails here, and counts as it is.
        self._unzip = zlib.decompressobj(47) if encoding.strip().lower() in _COMPRESSED else None

    def add(self, piece: bytes) -> None:
        self.bytes += len(piece)
        while piece and self._unzip and self.bytes <= MOST_BYTES:
            try:
                self.bytes += len(self._unzip.decompress(piece, 1024 * 1024))
            except zlib.error:
                self._unzip = None
                return
            piece = self._unzip.unconsumed_tail


def _too_long() -> PlainTextResponse:
    problem = f"the body of this request has more than {MOST_BYTES // 1024**2} MB"
    fix = "send less at a time; log a file with mlflow.log_artifact(path)"
    return PlainTextResponse(str(Violation(GATE, problem, fix)), 413, {"Connection": "close"})
