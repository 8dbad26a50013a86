"""A violation: one thing that would make a run impossible to make again, with its way out."""

from collections.abc import Iterable
from dataclasses import dataclass

import click


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
        # A problem in the words of a library may bring a full stop.
        problem = self.problem if self.problem.endswith("...") else self.problem.removesuffix(".")
        return f"{self.key}: {problem}. To fix it: {self.fix}"


class Refused(click.ClickException):
    """Raised with every violation found; as itself, only before anything is created or computed.

    A command line shows it as a message without a traceback and ends with status 2.
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
