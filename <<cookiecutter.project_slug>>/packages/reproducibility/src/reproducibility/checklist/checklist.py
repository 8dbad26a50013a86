"""The checklist of a code review: six items, each asked whatever became of the others."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import commit, config, data, parameters, requirements, seed
from .item import Item, Seen, State, answered
from .review import Review, begin

_ITEMS: tuple[tuple[str, str, Callable[[Review], Iterator[Seen]]], ...] = (
    ("parameters", "MLflow logging for all parameters", parameters.look),
    ("data", "Data version tracked", data.look),
    ("seed", "Random seed set", seed.look),
    ("config", "Config file committed", config.look),
    ("requirements", "requirements.txt updated", requirements.look),
    ("commit", "Commit", commit.look),
)


@dataclass(frozen=True)
class Checklist:
    """What was found out about the commit *head* and the run shown for it, None if there is none."""

    head: str
    run_id: str | None
    place: str | None
    items: tuple[Item, ...]

    @property
    def exit_status(self) -> int:
        """0 if every item holds, 1 if one does not, 2 if none fails and one could not be told."""
        states = {item.state for item in self.items}
        return 1 if State.FAILS in states else 2 if State.UNTOLD in states else 0


def check(reference: str | None, event: Path | None, base: str | None, *, prove: bool) -> Checklist:
    """Ask every item of the commit that is checked out and of the run that is shown for it (see `review.begin`).

    prove: make the run again if nobody has. Raises Refused for a *reference* or *event* that is none.
    """
    review = begin(reference, event, base, prove=prove)
    items = tuple(answered(key, title, partial(look, review)) for key, title, look in _ITEMS)
    shown = review.shown
    run_id = shown.recorded.run.info.run_id if shown else None
    return Checklist(review.head, run_id, shown.validation.place if shown else None, items)
