"""The runs and models of this process that have a journal: the one place where store, files and thread find them."""

import os
from typing import TYPE_CHECKING

from .journal import Journal

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

_journals: dict[str, Journal] = {}
_models: "dict[str, tuple[Journal, LoggedModel]]" = {}


def add(journal: Journal) -> None:
    _journals[journal.run_id] = journal


def remove(journal: Journal) -> None:
    _journals.pop(journal.run_id, None)
    for model_id in [model_id for model_id, (owner, _) in _models.items() if owner is journal]:
        del _models[model_id]


def journal_of(run_id: str) -> Journal | None:
    """Return the journal of a run that was begun on this machine and goes on; None if there is none."""
    journal = _journals.get(run_id)
    # The end of the run was shipped: by the process that began the run, or by the thread while the server was away. A
    # journal that somebody else deleted is not forgotten: the run must not go on as if it had none.
    if journal is not None and (not journal.is_own or journal.has_ended) and not journal.exists:
        remove(journal)
        journal = None
    if journal is None and run_id and (journal := Journal.find(run_id)) is not None:
        add(journal)
    return journal


def journals() -> list[Journal]:
    return list(_journals.values())


def add_model(journal: Journal, model: "LoggedModel") -> None:
    _models[model.model_id] = (journal, model)


def model_of(model_id: str) -> "tuple[Journal, LoggedModel] | None":
    """Return a model that this process made in a run that goes on, with the journal of the run."""
    return _models.get(model_id)


def _forget() -> None:
    """In a forked process: the logs are those of the process that forked."""
    _journals.clear()
    _models.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
