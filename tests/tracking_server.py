"""A real tracking server in a process of its own, on this machine only, started as a person would start it."""

import base64
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

_LIMIT = 600  # seconds; a server takes ten when nothing else runs


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class TrackingServer:
    """`with TrackingServer(argv, env, log) as server:` one process, reached at `server.uri`; argv gets its --port."""

    def __init__(self, argv: list[str | Path], env: Mapping[str, str], log: Path) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.argv, self.env, self.log = [*map(str, argv), "--port", str(self.port)], dict(env), log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; fail with its output if it ends instead."""
        self.launch()
        until = time.monotonic() + _LIMIT
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(self.log.read_text("utf-8"))
            try:
                urlopen(f"{self.uri}/health", timeout=1)  # noqa: S310
                return
            except (URLError, OSError):
                time.sleep(0.1)
        raise AssertionError(f"no answer after {_LIMIT} s: {self.log.read_text('utf-8')}")

    def launch(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def ended(self) -> tuple[int, str]:
        """Wait until the process has ended by itself; return its status and its output."""
        try:
            return self.process.wait(timeout=_LIMIT), self.log.read_text("utf-8")
        finally:
            self.stop()

    def stop(self) -> None:
        """End it as an operator would."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def kill(self) -> None:
        """End it as a machine does that loses its power: the server, and the worker that it started."""
        main = self.process.pid
        workers = [int(pid) for pid in Path(f"/proc/{main}/task/{main}/children").read_text().split()]
        for pid in [main, *workers]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def ask(
        self,
        path: str,
        body: object = b"",
        method: str = "POST",
        login: tuple[str, str] | None = None,
        host: str | None = None,
    ) -> tuple[int, str]:
        """Send *body*, as JSON unless it is bytes, as curl does; return the status and the text of the answer.

        host: the name by which the server is asked, instead of its own.
        """
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(self.uri + path, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310
        if host:
            request.add_header("Host", host)
        if login:
            request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
        try:
            with urlopen(request, timeout=_LIMIT) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    def __enter__(self) -> "TrackingServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
