"""A run that ends early: signals become exceptions at a safe moment, and the reason is put into words."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from ..errors import Refused, in_plain_words, is_file_failure_message, is_outage_message
from ..secrets import recordable

# A terminal sends SIGHUP when it is closed. Windows has no such signal.
_TERMINATING = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Terminated(SystemExit):
    """SIGTERM or SIGHUP as an exception: the run ends as after any other, the process with the signal's status."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number).name


class Interruption:
    """Holds signals back from entry until `release`, which then raises the last one that arrived meanwhile.

    A run that is half created when a signal arrives would stay RUNNING for ever. `hold` holds signals back again; what
    arrives then is raised when the block is left. A signal that the process ignores (Ctrl-C under nohup) stays ignored.
    Python handles signals in the main thread only: in other threads this class does nothing. When the block is left,
    and in a process that is forked inside, the earlier handlers are set again.
    """

    def __enter__(self) -> Self:
        self._held = True
        self._pending: int | None = None
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (*_TERMINATING, signal.SIGINT):
                # None: the handler was not set by Python, and Python could not set it again.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._handle)
        _active.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self in _active:  # not in a forked process, which has the earlier handlers already
            _active.remove(self)
            self.restore()
        if self._pending is not None and not isinstance(error, Terminated | KeyboardInterrupt):
            self._raise(self._pending)

    def restore(self) -> None:
        """Set the handlers again that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hold(self) -> None:
        self._held = True

    @property
    def is_pending(self) -> bool:
        """Whether a signal has arrived that is held back."""
        return self._pending is not None

    def release(self) -> None:
        self._held = False
        if self._pending is not None:
            number, self._pending = self._pending, None
            self._raise(number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            self._pending = number
        else:
            self._held = number in _TERMINATING  # a second signal must not strike while the run ends
            self._raise(number)

    @staticmethod
    def _raise(number: int) -> None:
        raise Terminated(number) if number in _TERMINATING else KeyboardInterrupt


_active: list[Interruption] = []


def _forget() -> None:
    """In a forked process: the run is not that process's own, so a signal to that process does not end the run."""
    while _active:
        _active.pop().restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def reason(error: BaseException) -> str:
    """Return why *error* ended a run early, in at most 500 characters and without secrets."""
    if isinstance(error, Terminated):
        return f"terminated by {error.signal}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted with Ctrl-C"
    if isinstance(error, SystemExit):
        return f"sys.exit({error.code!r}) before the end of the run"
    if isinstance(error, GeneratorExit):
        return "left before its block began"
    if isinstance(error, Refused):
        return recordable("; ".join(map(str, error.violations)))
    if is_outage(error) and is_file_failure_message(str(error)):
        return f"the tracking store could not be written: {in_plain_words(str(error))}"
    # The first line: some libraries add a page of advice.
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    return recordable(f"{type(error).__name__}: {text}")


def is_outage(error: BaseException) -> bool:
    """Return whether *error* says that MLflow gave up on a server or a database, and not that one refused a value."""
    from mlflow.exceptions import MlflowException

    signs = (is_outage_message, is_file_failure_message)
    return isinstance(error, MlflowException) and any(sign(str(error)) for sign in signs)
