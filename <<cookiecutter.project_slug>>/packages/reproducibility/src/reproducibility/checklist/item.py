"""An item of the checklist: a statement, whether it passes, and what was seen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import click

from ..errors import Refused, Unknown, Violation


class State(StrEnum):
    """The answer to an item."""

    PASSES = "passes"
    FAILS = "fails"
    UNKNOWN = "unknown"


# What an inspection reports: a fact as text, what is wrong, or what could not be found out.
Observation: TypeAlias = str | Violation | Unknown


@dataclass(frozen=True)
class Item:
    """One line of the checklist.

    key: its short name, for machines. title: the statement. evidence: the facts that were seen, one clause each.
    problems: why the item fails, or why that is unknown; none when it passes.
    """

    key: str
    title: str
    state: State
    evidence: tuple[str, ...]
    problems: tuple[Violation, ...]


def assess(key: str, title: str, inspect: Callable[[], Iterator[Observation]]) -> Item:
    """Return the item with the observations of *inspect*.

    The item fails with a Violation that *inspect* yields, or a Refused that it raises. The item is unknown with an
    Unknown, yielded or raised, and with an unreachable store, unless something else makes it fail.
    """
    evidence: list[str] = []
    problems: list[Violation] = []
    unknown: list[Violation] = []
    try:
        for observation in inspect():
            if isinstance(observation, Violation):
                problems.append(observation)
            elif isinstance(observation, Unknown):
                unknown += observation.violations
            else:
                evidence.append(observation)
    except Unknown as error:
        unknown += error.violations
    except Refused as refused:
        problems += refused.violations
    except click.ClickException as error:
        problem, _, fix = error.format_message().partition(". ")
        unknown.append(Violation("tracking store", problem, fix.removesuffix(".")))
    state = State.FAILS if problems else State.UNKNOWN if unknown else State.PASSES
    return Item(key, title, state, tuple(evidence), (*problems, *unknown))
