"""Display: text, paths, lists, progress and reports in the form that a person at a terminal reads."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .errors import printable, refuse

if TYPE_CHECKING:
    from rich.console import Console
    from rich.segment import Segment

T = TypeVar("T")


def one_line(text: str, limit: int = 60) -> str:
    """Return *text* for one line of a message: control characters escaped, cut after *limit* characters."""
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= limit else f"{line[:limit]}..."


def listed(names: Iterable[str], most: int = 5, limit: int = 200) -> str:
    """Return ``a, b and 3 more``: the first *most* of *names*, each on one line of at most *limit* characters."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(one_line(name, limit) for name in names[:most]) + more


def shown_path(path: Path) -> str:
    """Return a path inside the working directory relative to it, any other path absolute; with forward slashes."""
    try:
        absolute, here = Path(os.path.abspath(path)), Path.cwd()
    except FileNotFoundError:  # the working directory was removed
        return one_line(path.as_posix(), 300)
    return one_line((absolute.relative_to(here) if absolute.is_relative_to(here) else absolute).as_posix(), 300)


def as_utf8(text: str) -> str:
    """Return *text* that came from the system (a variable, an argument) as UTF-8, whatever encoding the locale names.

    What is not UTF-8 becomes a replacement character.
    """
    return os.fsencode(text).decode("utf-8", "replace")


def let_any_text_pass() -> None:
    """Let standard output and errors escape the characters that their encoding lacks, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def require_working_directory() -> None:
    """Raise Refused if the working directory was removed: no relative path means anything then."""
    try:
        os.getcwd()
    except FileNotFoundError:
        problem = "the folder that this shell works in was removed"
        refuse("working directory", problem, "cd to one that exists, for instance to the project's again")


def say(text: str) -> None:
    """Print a line of progress on standard error if that is a terminal; logs and pipes get none."""
    if sys.stderr.isatty():
        click.secho(text, dim=True, err=True)


def counted(things: Iterable[T], text: str) -> Iterator[T]:
    """Yield *things* one by one, with a progress bar on standard error, called *text*, if that is a terminal.

    The bar counts them; how many there will be is not known.
    """
    hidden = not sys.stderr.isatty()
    with click.progressbar(things, label=text, show_pos=True, file=sys.stderr, hidden=hidden) as bar:
        yield from bar


def emit(as_json: bool, data: Callable[[], Any], render: "Callable[[Console], None]") -> None:
    """Print a report on standard output: *data* as one JSON object, or what *render* draws on a console for people.

    JSON has no NaN and no infinity: such a number becomes null.
    """
    if as_json:
        click.echo(json.dumps(_finite(data()), indent=2, allow_nan=False))
    else:
        render(console())


def console(**options: Any) -> "Console":
    """Return a console of rich that shows text from a store as text, with more *options* of rich's own.

    Anybody may have written that text. It may look like markup or emoji and is neither, and no character of it controls
    the terminal.
    """
    from rich.console import Console

    class Plain(Console):
        def render(self, *arguments: Any, **more: Any) -> "Iterator[Segment]":
            for segment in super().render(*arguments, **more):
                yield segment if segment.control else segment._replace(text=printable(segment.text))

    return Plain(highlight=False, markup=False, emoji=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
