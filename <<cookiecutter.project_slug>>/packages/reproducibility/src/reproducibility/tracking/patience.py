"""Patience with the tracking server, where a person waits: an answer within ten seconds, and not after minutes."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# At the first request, and when a failed run is ended.
_SHORT_WAITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}


@contextmanager
def short_waits() -> Iterator[None]:
    """Inside, MLflow gives up a request to an unreachable server within ten seconds."""
    before = _set(_SHORT_WAITS)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Set variables of the environment, or delete those that are None; return what they were before."""
    before = {name: os.environ.get(name) for name in values}
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return before
