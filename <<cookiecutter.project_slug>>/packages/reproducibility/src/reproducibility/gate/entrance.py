"""The entrance of the tracking server: what is checked of every request before MLflow reads it."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse

from .features import closed_paths

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class Entrance:
    """An ASGI middleware, the outermost. *features*: those of `features.FEATURES` that the policy turns on."""

    def __init__(self, app: "ASGIApp", features: Collection[str]) -> None:
        self.app = app
        self.closed = closed_paths(features)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "http":
            # h11 passes `put` on, which Flask takes for PUT. Whatever compares methods as texts must know it.
            scope["method"] = scope["method"].upper()
            if self.closed.match(scope["path"]):
                await PlainTextResponse("Not Found", 404)(scope, receive, send)
                return
        await self.app(scope, receive, send)
