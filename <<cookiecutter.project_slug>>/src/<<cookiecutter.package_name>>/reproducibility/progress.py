"""Progress: a short line for a person who is waiting at a terminal; logs and pipes stay clean."""

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

import click

T = TypeVar("T")


def say(text: str) -> None:
    """Print *text* on standard error if that is a terminal."""
    if sys.stderr.isatty():
        click.secho(text, dim=True, err=True)


def counted(things: Sequence[T], text: str) -> Iterator[T]:
    """Yield *things* one by one, with a bar on standard error, called *text*, if that is a terminal."""
    with click.progressbar(things, label=text, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        yield from bar
