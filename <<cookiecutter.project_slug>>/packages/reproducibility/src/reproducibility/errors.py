"""Errors: what is wrong and how to fix it, for people; the exceptions that carry it to the command line."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

import click

# The key of every violation that the gate of a tracking store reports.
GATE = "reproducibility gate"
_GATE_SENTENCE = re.compile(rf"{GATE}: (.*?)\. To fix it: (.*)", re.DOTALL)


@dataclass(frozen=True)
class Violation:
    """What is wrong and what to do about it.

    key: the tag, parameter, file or configuration key at fault, e.g. ``data_version``.
    problem: what is wrong, as a clause without a full stop.
    fix: what the reader can do now, as a clause without a full stop; a command where one exists.
    """

    key: str
    problem: str
    fix: str

    def __str__(self) -> str:
        # A problem in the words of a library may end with a full stop.
        problem = self.problem if self.problem.endswith("...") else self.problem.removesuffix(".")
        return f"{self.key}: {problem}. To fix it: {self.fix}"


class Refused(click.ClickException):
    """Raised with every violation found; as itself, only before anything is created or computed.

    A command line shows the message without a traceback and ends with status 2.
    """

    exit_code = 2

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("\n".join(f"  - {violation}" for violation in self.violations))

    def format_message(self) -> str:
        if len(self.violations) == 1:
            return str(self.violations[0])
        return f"{len(self.violations)} things to fix:\n{self.message}"

    def __str__(self) -> str:
        return self.format_message()


class RunIncomplete(Refused):
    """A recorded run lacks what the policy requires. A command ends with status 1: the check does not hold."""

    exit_code = 1


class NotPromoted(Refused):
    """Others could not rely on the run to promote. A command ends with status 1: the check does not hold."""

    exit_code = 1


class Unreadable(Refused):
    """A part of a run is gone, or is kept where this machine cannot read it. The run cannot be judged."""


class Unknown(Refused):
    """A question cannot be answered on this machine. The violations say what would help."""


class ProjectNotFound(Refused, ImportError):
    """No project belongs to this environment. What needs one cannot be imported.

    Also an ImportError, for MLflow accepts that a plugin cannot be imported, and warns: `import mlflow` must work here.
    """


class StoreUnavailable(click.ClickException):
    """The tracking store is unreachable or cannot be used. A command ends with status 2: the run cannot be judged."""

    exit_code = 2


class StoreEmpty(StoreUnavailable):
    """There is no tracking store yet: nothing was ever recorded at that address."""


def refuse(key: object, problem: str, fix: str, kind: type[Refused] = Refused) -> NoReturn:
    """Raise Refused, or another *kind* of it, with one violation (see `Violation`); its key is *key* as text."""
    raise kind([Violation(str(key), problem, fix)])


def gate_violation(message: str) -> Violation | None:
    """Return the violation that a gate put into an error *message* of MLflow; None if no gate wrote the message."""
    found = _GATE_SENTENCE.search(message)
    return Violation(GATE, found[1], found[2].strip()) if found else None
