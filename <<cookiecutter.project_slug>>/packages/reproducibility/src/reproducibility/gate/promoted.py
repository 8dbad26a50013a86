"""Promoted runs: what a protected alias rests on. None of these runs may be deleted while the alias points there."""

import os
from collections.abc import Mapping
from typing import Any

from mlflow.store.tracking.dbmodels.models import SqlRun, SqlTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._model_registry.utils import _get_store
from sqlalchemy.orm import Session

from ..errors import GATE, Violation
from ..tags import PARENT_TAG, REPRODUCED_BY

# SQL Server accepts about 2000 values in one condition.
_MOST_VALUES = 500


def deletion_refusal(store: SqlAlchemyStore, what: str, condition: Any) -> Violation | None:
    """Return why the runs of *store* that meet an SQL *condition* may not be deleted; None if they may.

    *what* is deleted, for example ``run 1f2e`` or ``experiment 7``.
    """
    # The registry is asked only here, so that recording a run never waits for it.
    registry = _get_store(os.environ.get("_MLFLOW_SERVER_REGISTRY_STORE") or store.db_uri)
    if not (aliases := registry.protected_runs()):
        return None
    with store.ManagedSessionMaker(read_only=False) as session:
        promoted = _promoted_runs(session, aliases)
        for (run_id,) in session.query(SqlRun.run_uuid).filter(condition):
            if alias := promoted.get(run_id):
                which = "it" if run_id in what else f"its run {run_id}"
                problem = f"{what} cannot be deleted, because {alias} rests on {which}"
                return Violation(GATE, problem, "let the alias point to another version, or delete the alias first")
    return None


def _promoted_runs(session: Session, aliases: Mapping[str, str]) -> dict[str, str]:
    """Return {run id: alias} of every run that an alias rests on. *aliases*: {run id: alias} of the promoted models.

    An alias rests on the run of its model and on the reproduction of that run, on the runs around these two, and on the
    runs inside them, which were compared too. The number of queries does not grow with that of the aliases.
    """
    proofs = {**_related(session, aliases, REPRODUCED_BY, SqlTag.run_uuid, SqlTag.value), **aliases}
    around = _closure(session, proofs, SqlTag.run_uuid, SqlTag.value)
    return _closure(session, proofs, SqlTag.value, SqlTag.run_uuid) | around


def _closure(session: Session, runs: Mapping[str, str], given: Any, wanted: Any) -> dict[str, str]:
    """Return *runs* with all runs around or inside them, level by level. Ends where altered tags lead in a circle."""
    found, level = dict(runs), dict(runs)
    while level:
        related = _related(session, level, PARENT_TAG, given, wanted)
        level = {run_id: alias for run_id, alias in related.items() if run_id not in found}
        found |= level
    return found


def _related(session: Session, runs: Mapping[str, str], tag: str, given: Any, wanted: Any) -> dict[str, str]:
    """Return {*wanted*: alias} of the rows of *tag* whose column *given* is one of *runs*."""
    found, ids = {}, list(runs)
    for start in range(0, len(ids), _MOST_VALUES):
        query = session.query(given, wanted).filter(SqlTag.key == tag, given.in_(ids[start : start + _MOST_VALUES]))
        found |= {other: runs[run_id] for run_id, other in query}
    return found
