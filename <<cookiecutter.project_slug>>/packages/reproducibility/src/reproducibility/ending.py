"""The end of a command: quick, and where the command raised something, with one message and an exit status."""

import atexit
import gc
import os
import sys
from typing import NoReturn

import click

from .display import one_line
from .errors import Refused, Violation
from .secrets import recordable

_TRACEBACK = "REPRODUCIBILITY_TRACEBACK"


def end_quickly() -> None:
    """Let this process collect its garbage once when it ends, and not several times.

    Python looks at every object again and again while it ends. With MLflow imported, that is a quarter of the time that
    a short command takes. Whatever is registered with atexit later still runs before this last collection.
    """
    atexit.unregister(_collect_and_keep)
    atexit.register(_collect_and_keep)


def _collect_and_keep() -> None:
    gc.collect()
    gc.freeze()  # what is in use now is no garbage later


def end(error: Exception) -> NoReturn:
    """End the process after *error*: a refusal with its message and status, Ctrl-C with status 130.

    An error that nobody foresaw ends it with status 2, because nothing was checked. Its traceback is shown only where
    the variable REPRODUCIBILITY_TRACEBACK is set.
    """
    if isinstance(error, click.ClickException):
        error.show()
        sys.exit(error.exit_code)
    if isinstance(error, click.Abort):
        sys.exit(130)
    if isinstance(error, BrokenPipeError):
        # Whoever read the output has gone, as in `repro diff A B | head`. Python writes what is left at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
    if os.environ.get(_TRACEBACK):
        sys.excepthook(type(error), error, error.__traceback__)
    what = one_line(" ".join(recordable(f"{type(error).__name__}: {error}").split()), 300)
    fix = f"run it again with {_TRACEBACK}=1, which shows where it happened"
    Refused([Violation("repro", f"it met an error that it does not know ({what})", fix)]).show()
    sys.exit(2)
