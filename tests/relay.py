"""A relay in front of a tracking server: the server goes away, is slow, or a proxy answers in its place."""

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit


class Relay:
    """`with Relay(uri) as relay:` what is asked at `relay.uri` the server at *uri* answers, or nobody, or late."""

    def __init__(self, uri: str) -> None:
        self._server = (urlsplit(uri).hostname, urlsplit(uri).port)
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._answers = threading.Event()
        self._answers.set()
        self._delay_s = 0.0
        self._answer = b""
        self._methods: tuple[bytes, ...] = ()
        self.port = 0
        self.open()
        self.uri = f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Pass everything on at once; what waits too."""
        self._methods = ()
        self._answers.set()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self.port = self._listener.getsockname()[1]
            threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def delay(self, seconds: float) -> None:
        """Let each answer wait so long, or until the relay is opened."""
        self._delay_s = seconds
        self._answers.clear()

    def answer(self, status: str, body: str, *methods: str, header: str = "Content-Type: text/html") -> None:
        """Answer requests with one of these *methods* in place of the server, as a proxy does, until it is opened."""
        text = f"HTTP/1.1 {status}\r\n{header}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
        self._answer, self._methods = text.encode(), tuple(f"{method} ".encode() for method in methods)

    def shut(self) -> None:
        """Refuse every connection, and break those that are there."""
        if self._listener is not None:
            self._end(self._listener)
            self._listener = None
        for connection in list(self._connections):
            self._end(connection)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = listener.accept()
                try:
                    server = socket.create_connection(self._server)
                except OSError:
                    self._end(client)
                    continue
                self._connections |= {client, server}
                for source, target, is_answer in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass_on, args=[source, target, is_answer], daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):  # one of the two was closed
            while data := source.recv(65_536):
                if not is_answer and self._methods and data.startswith(self._methods):
                    self._read_all(source)
                    source.sendall(self._answer)
                    break
                if is_answer:
                    self._answers.wait(self._delay_s)
                target.sendall(data)
        for connection in (source, target):
            self._end(connection)
            self._connections.discard(connection)

    @staticmethod
    def _read_all(source: socket.socket) -> None:
        """Read the rest of a request: an answer before its end would be taken for a broken connection."""
        source.settimeout(0.3)
        with suppress(TimeoutError):
            while source.recv(65_536):
                pass

    @staticmethod
    def _end(connection: socket.socket) -> None:
        """Close a socket, also for a thread that waits for it."""
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
        self.shut()
