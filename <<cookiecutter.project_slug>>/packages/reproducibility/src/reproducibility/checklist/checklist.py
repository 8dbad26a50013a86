"""The checklist of a code review: six items, each inspected independently of the others."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from . import commit, config, data, parameters, requirements, seed
from .item import Item, Observation, State, assess
from .pull_request import PullRequest
from .review import Review, begin

_ITEMS: tuple[tuple[str, str, Callable[[Review], Iterator[Observation]]], ...] = (
    ("parameters", "MLflow logging for all parameters", parameters.inspect),
    ("data", "Data version tracked", data.inspect),
    ("seed", "Random seed set", seed.inspect),
    ("config", "Config file committed", config.inspect),
    ("requirements", "requirements.txt updated", requirements.inspect),
    ("commit", "Commit", commit.inspect),
)


@dataclass(frozen=True)
class Checklist:
    """The items for the commit *head* and for the run that is shown for it, with its page; None without a run."""

    head: str
    run_id: str | None
    place: str | None
    items: tuple[Item, ...]

    @property
    def exit_status(self) -> int:
        """0 if every item passes, 1 if one fails, 2 if none fails and one is unknown."""
        states = {item.state for item in self.items}
        return 1 if State.FAILS in states else 2 if State.UNKNOWN in states else 0


def check(reference: str | None, request: PullRequest | None, base: str | None, *, prove: bool) -> Checklist:
    """Inspect every item for the commit that is checked out and the run that is shown for it (see `review.begin`).

    prove: reproduce the run if it has no reproduction yet. Raises Refused for a *reference* that names nothing.
    """
    review = begin(reference, request, base, prove=prove)
    items = tuple(assess(key, title, partial(inspect, review)) for key, title, inspect in _ITEMS)
    shown = review.shown
    run_id = shown.recorded.run.info.run_id if shown else None
    return Checklist(review.head, run_id, shown.validation.place if shown else None, items)
