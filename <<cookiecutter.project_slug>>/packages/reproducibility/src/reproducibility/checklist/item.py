"""An item of the checklist: a question, the answer, and what the answer rests on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import click

from ..errors import Refused, Unknown, Violation


class State(StrEnum):
    """What became of an item."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNTOLD = "could not be told"


Seen: TypeAlias = str | Violation | Unknown


@dataclass(frozen=True)
class Item:
    """One line of the checklist.

    key: its short name, for machines. title: the question as a statement. evidence: what was seen, one clause each.
    problems: what speaks against it, or keeps it from being told; none when it holds.
    """

    key: str
    title: str
    state: State
    evidence: tuple[str, ...]
    problems: tuple[Violation, ...]


def answered(key: str, title: str, look: Callable[[], Iterator[Seen]]) -> Item:
    """Return the item that *look* gives the answer to: it yields what it sees, text as evidence, violations against it.

    Refused, raised in it, counts against the item. Unknown, yielded or raised, and an unreachable store leave it open.
    """
    evidence: list[str] = []
    problems: list[Violation] = []
    untold: list[Violation] = []
    try:
        for seen in look():
            if isinstance(seen, Violation):
                problems.append(seen)
            elif isinstance(seen, Unknown):
                untold += seen.violations
            else:
                evidence.append(seen)
    except Unknown as error:
        untold += error.violations
    except Refused as refused:
        problems += refused.violations
    except click.ClickException as error:
        problem, _, fix = error.format_message().partition(". ")
        untold.append(Violation("tracking store", problem, fix.removesuffix(".")))
    state = State.FAILS if problems else State.UNTOLD if untold else State.HOLDS
    return Item(key, title, state, tuple(evidence), (*problems, *untold))
