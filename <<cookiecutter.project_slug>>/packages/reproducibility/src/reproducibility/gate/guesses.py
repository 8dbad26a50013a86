"""Guesses of passwords: after some that were wrong, a sender waits a minute."""

import base64
import binascii
import threading
import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message, Send

_SECONDS = 60
# How many wrong passwords one sender may send in that time: for one login, and for all of them.
_FOR_A_LOGIN, _FOR_ALL = 10, 100
_MOST_SENDERS = 10_000


class Guesses:
    """The wrong passwords of the last minute, in the memory of this process.

    It counts by the address of the sender too, so that nobody locks out a colleague. Behind a proxy all have the
    proxy's address.
    """

    ANSWER = "Too many wrong passwords: wait a minute, then correct MLFLOW_TRACKING_PASSWORD or the user name"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrong: dict[tuple[str, bytes | None], deque[float]] = defaultdict(deque)

    def are_too_many(self, sender: str, authorization: bytes) -> bool:
        """Whether *sender* has guessed too often to be asked again with the login in the header *authorization*."""
        with self._lock:
            limits = {(sender, _name(authorization)): _FOR_A_LOGIN, (sender, None): _FOR_ALL}
            return any(self._count(key) >= most for key, most in limits.items())

    def counting(self, sender: str, authorization: bytes, send: "Send") -> "Send":
        """Return *send*, which notes an answer that the password is wrong."""

        async def noted(message: "Message") -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                with self._lock:
                    if len(self._wrong) > _MOST_SENDERS:
                        self._wrong.clear()
                    for key in ((sender, _name(authorization)), (sender, None)):
                        self._wrong[key].append(time.monotonic())
            await send(message)

        return noted

    def _count(self, key: tuple[str, bytes | None]) -> int:
        if (times := self._wrong.get(key)) is None:
            return 0
        while times and times[0] < time.monotonic() - _SECONDS:
            times.popleft()
        if not times:
            del self._wrong[key]
        return len(times)


def _name(authorization: bytes) -> bytes:
    """Return the name in a header such as ``Basic YWRhOnB3``."""
    try:
        return base64.b64decode(authorization.partition(b" ")[2]).partition(b":")[0][:200]
    except binascii.Error:
        return b""
