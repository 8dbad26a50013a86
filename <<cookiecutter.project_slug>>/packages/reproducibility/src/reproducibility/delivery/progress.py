"""Progress of what is shipped, for a person who waits at a terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

_UNSEEN_S = 2.0  # nobody needs to see the progress of what takes less


@contextmanager
def progress_bar(length: int, text: str) -> Iterator[Callable[[int], None]]:
    """Inside, the function that is yielded advances a progress bar of *length* steps, called *text*.

    The bar is drawn on standard error if that is a terminal, and if the work takes more than two seconds.
    """
    began, held = time.monotonic(), 0
    bar = click.progressbar(length=length, label=text, file=sys.stderr, hidden=not sys.stderr.isatty())

    def advance(steps: int) -> None:
        nonlocal held
        held += steps
        if time.monotonic() - began > _UNSEEN_S:
            bar.update(held)
            held = 0

    try:
        yield advance
    finally:
        if bar.pos:
            bar.render_finish()
