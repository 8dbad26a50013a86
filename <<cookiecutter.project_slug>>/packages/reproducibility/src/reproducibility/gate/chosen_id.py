"""The id that a client chose for a new run or model, in place of one that MLflow draws.

MLflow draws ids with `uuid.uuid4` and has no way to give one. So the module of MLflow's store gets a `uuid` of ours,
which returns the chosen id where there is one. A test shows that the pinned MLflow asks it.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from mlflow.store.tracking import sqlalchemy_store

_chosen: ContextVar[str | None] = ContextVar("chosen_id", default=None)


@contextmanager
def chosen_id(hexadecimal: str | None) -> Iterator[None]:
    """Inside, the next run or model of this thread gets the id of these 32 digits; None leaves the id to MLflow."""
    token = _chosen.set(hexadecimal)
    try:
        yield
    finally:
        _chosen.reset(token)


class _Ids:
    """The module `uuid`, whose `uuid4` returns the chosen id once."""

    def uuid4(self) -> uuid.UUID:
        if (chosen := _chosen.get()) is None:
            return uuid.uuid4()
        _chosen.set(None)
        return uuid.UUID(chosen)

    def __getattr__(self, name: str) -> Any:
        return getattr(uuid, name)


sqlalchemy_store.uuid = _Ids()
