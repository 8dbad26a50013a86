"""A relay in front of a tracking server, so that the server can go away and be slow without being started again."""

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
        self.port = 0
        self.open()
        self.uri = f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Pass everything on at once; what waits too."""
        self._answers.set()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self.port = self._listener.getsockname()[1]
            threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def delay(self, seconds: float) -> None:
        """Let each answer wait so long, or until the relay is opened."""
        self._delay_s = seconds
        self._answers.clear()

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
                if is_answer:
                    self._answers.wait(self._delay_s)
                target.sendall(data)
        for connection in (source, target):
            self._end(connection)
            self._connections.discard(connection)

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
