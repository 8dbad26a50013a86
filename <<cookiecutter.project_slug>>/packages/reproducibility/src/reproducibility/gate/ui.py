"""The runs in a browser: the page of the newest run, on the team's server or on one that is started for it."""

import os
import sys
import threading
import time
import webbrowser
from urllib.error import URLError
from urllib.request import urlopen

import click

from ..errors import Refused
from ..tracking.recorded import find_run
from ..tracking.store import connect, run_page, tracking_uri, without_login
from .server import serve

_PATIENCE_S = 120


def show(port: int) -> None:
    """Open the page of the newest run; serve the project's own database on *port* if no server keeps the runs.

    Raises Refused and StoreUnavailable, as `server.serve` and `connect` do.
    """
    uri = without_login(tracking_uri())
    client = connect(create=True)
    is_served = uri.startswith("http")
    server = uri.rstrip("/") if is_served else f"http://127.0.0.1:{port}"
    try:
        page = run_page(server, find_run(client, "last"))
    except Refused:  # there is no run yet, or none of whoever asks
        page = server
    if is_served:
        _open(page)
        return
    serve("127.0.0.1", port, embedded=True, opens=lambda: _open_when_served(server, page))


def _open_when_served(server: str, page: str) -> None:
    """Wait in a thread until *server* answers, and then open *page*."""

    def wait() -> None:
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            try:
                urlopen(f"{server}/health", timeout=1).close()  # noqa: S310 -- our own address
                _open(page)
                return
            except (URLError, OSError):
                time.sleep(0.2)

    threading.Thread(target=wait, name="ui", daemon=True).start()


def _open(page: str) -> None:
    click.echo(f"your newest run: {page}" if "#" in page else f"the runs: {page}")
    if sys.stdout.isatty() or "BROWSER" in os.environ:
        webbrowser.open(page)
