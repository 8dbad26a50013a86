"""Errors: what is wrong and how to fix it, and the exceptions that carry this to the command line."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

import click

# The key of every violation that the gate of a tracking store reports.
GATE = "reproducibility gate"
# The sentence of a violation, and how to find the gate's sentence in a server's answer.
_SENTENCE = "{key}: {problem}. To fix it: {fix}"
_GATE_SENTENCE = re.compile(_SENTENCE.format(key=GATE, problem="(.*?)", fix="(.*)").replace(". ", r"\. "), re.DOTALL)


def printable(text: str) -> str:
    """Return *text* with ``?`` for each character that would control a terminal, but with its line ends.

    What a store, a repository or a server says was written by anybody.
    """
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


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
        return _SENTENCE.format(key=self.key, problem=problem, fix=self.fix)


class Refused(click.ClickException):
    """Carries every violation that was found. A plain Refused is raised before anything is created or computed.

    A command shows the message without a traceback and ends with status 2.
    """

    exit_code = 2

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__(self.format_message())

    def format_message(self) -> str:
        # Each on one line: text from elsewhere must not look like a line of ours.
        lines = [printable(str(violation)).replace("\n", " ") for violation in self.violations]
        if len(lines) == 1:
            return lines[0]
        return "\n".join([f"{len(lines)} things to fix:", *(f"  - {line}" for line in lines)])

    def __str__(self) -> str:
        return self.format_message()


class RunIncomplete(Refused):
    """A recorded run lacks what the policy requires. A command ends with status 1: the check does not hold."""

    exit_code = 1


class NotPromoted(Refused):
    """A run is not fit for promotion. A command ends with status 1: the check does not hold."""

    exit_code = 1


class Unknown(Refused):
    """A question cannot be answered on this machine. The violations say what would help."""


class Unreadable(Unknown):
    """A part of a run is lost, or is stored where this machine cannot read it. The run cannot be checked."""


class ProjectNotFound(Refused, ImportError):
    """No project belongs to this environment. What needs one cannot be imported.

    Also an ImportError, for MLflow accepts that a plugin cannot be imported, and warns: `import mlflow` must work here.
    """


class StoreUnavailable(click.ClickException):
    """The tracking store is unreachable or cannot be used. A command ends with status 2: nothing can be checked."""

    exit_code = 2

    def format_message(self) -> str:
        return printable(self.message)


class StoreEmpty(StoreUnavailable):
    """There is no tracking store yet: nothing was ever recorded at its address."""


def refuse(key: object, problem: str, fix: str, kind: type[Refused] = Refused) -> NoReturn:
    """Raise Refused, or another *kind* of it, with one violation (see `Violation`); its key is *key* as text."""
    raise kind([Violation(str(key), problem, fix)]) from None


def gate_violation(message: str) -> Violation | None:
    """Return the violation in an error *message* of MLflow; None if the message is not from the gate.

    The gate answers with `str` of a violation, and MLflow's client puts words of its own around the answer.
    """
    found = _GATE_SENTENCE.search(message)
    return Violation(GATE, found[1], found[2].strip()) if found else None


def is_outage_message(message: str) -> bool:
    """Whether *message*, of an error of MLflow, says that MLflow's client gave up on a server."""
    return message.startswith("API request to")


DISK_FULL, LOCKED = "its disk is full", "another process keeps it locked"
_FILE_FAILURES = {"database or disk is full": DISK_FULL, "database is locked": LOCKED}


def is_file_failure_message(message: str) -> bool:
    """Whether *message*, of an error of MLflow, says that the file of a database could not be written."""
    return any(sign in message for sign in _FILE_FAILURES)


def in_plain_words(reason: str) -> str:
    """Return the *reason* of a network library or of SQLite in plain words, and any other reason as it is."""
    for sign, words in (
        ("NameResolutionError", "its host name is unknown"),
        ("failed to resolve host", "its host name is unknown"),
        ("Connection refused", "nothing answers there (connection refused)"),
        ("timed out", "it does not answer in time"),
        ("timeout expired", "it does not answer in time"),
        *_FILE_FAILURES.items(),
    ):
        if sign in reason:
            return words
    return reason[:300]
