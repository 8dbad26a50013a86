"""Patience with the tracking server: a training does not end because the server is away for some minutes.

A person who waits at the start of a command gets an answer within ten seconds. A training that goes on waits longer:
minutes are nothing against the hours that a lost training costs. What MLflow sends again arrives once: a metric has its
time from the first try, and MLflow does not send the beginning of a run again.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click

from ..mlflow_defaults import DEFAULTS

_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
# While a person waits: at the first request, and when a failed run is ended.
_SHORT_WAITS = {_RETRIES: "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}
# MLflow tries at most so often. It waits 2, 4, 8 ... 64 seconds between two tries, and then 120 seconds: 8 minutes.
_MOST_RETRIES = "10"
_LONGEST_PAUSE_S = 180.0  # between two tries, with the time that a try may take

_lock = threading.Lock()
_waiting = 0  # how many blocks of `long_waits` are open in this process


@contextmanager
def short_waits() -> Iterator[None]:
    """Inside, MLflow gives up a request to an unreachable server within ten seconds."""
    before = _set(_SHORT_WAITS)
    try:
        yield
    finally:
        _set(before)


@contextmanager
def long_waits() -> Iterator[None]:
    """Inside, MLflow tries for 8 minutes to reach a server, and one line says so; unless the user has set the variable.

    The processes that the block starts do the same.
    """
    global _waiting
    with _lock:
        if _waiting == 0 and os.environ.get(_RETRIES) == DEFAULTS[_RETRIES]:
            os.environ[_RETRIES] = _MOST_RETRIES
        _waiting += 1
    notice = _OutageNotice()
    logging.getLogger("urllib3.connectionpool").addFilter(notice)
    try:
        yield
    finally:
        logging.getLogger("urllib3.connectionpool").removeFilter(notice)
        with _lock:
            _waiting -= 1
            if _waiting == 0 and os.environ.get(_RETRIES) == _MOST_RETRIES:
                os.environ[_RETRIES] = DEFAULTS[_RETRIES]


def _set(values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Set variables of the environment, or delete those that are None; return what they were before."""
    before = {name: os.environ.get(name) for name in values}
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return before


class _OutageNotice(logging.Filter):
    """Says once in each outage that the run waits, instead of the lines that urllib3 logs at every try."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -_LONGEST_PAUSE_S

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith("Retrying"):
            return True
        now, before = time.monotonic(), self._last
        self._last = now
        if now - before > _LONGEST_PAUSE_S:
            click.echo("the tracking server does not answer; the run waits for it for 8 minutes at most", err=True)
        return False
