"""Interruption: the signals that end a process, held back while a run is created or ended, exceptions otherwise."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from ..secrets import recordable

# Windows has no SIGHUP, which a terminal sends when it is closed.
_ENDING = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Terminated(SystemExit):
    """SIGTERM or SIGHUP as an exception: the run ends like after any other, the process with the signal's status."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number).name


class Interruption:
    """Holds the signals from entry until `release`. A signal that came meanwhile is raised by `release`, not lost.

    A run that is half created when a signal strikes would stay RUNNING for ever. A signal held at the end is raised
    when the block is left. A signal that the process ignores (Ctrl-C under nohup) stays ignored. Outside the main
    thread, where Python handles no signals, it does nothing. The earlier handlers come back at the end.
    """

    def __enter__(self) -> Self:
        self._held = True
        self._pending: int | None = None
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (*_ENDING, signal.SIGINT):
                # None is a handler that Python did not set and could not bring back
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._pending is not None and not isinstance(error, Terminated | KeyboardInterrupt):
            self._raise(self._pending)

    def hold(self) -> None:
        self._held = True

    def release(self) -> None:
        self._held = False
        if self._pending is not None:
            number, self._pending = self._pending, None
            self._raise(number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            self._pending = number
        else:
            self._held = number in _ENDING  # whoever sends it twice must not strike the run while it ends
            self._raise(number)

    @staticmethod
    def _raise(number: int) -> None:
        raise Terminated(number) if number in _ENDING else KeyboardInterrupt


def reason(error: BaseException) -> str:
    """Return why a run that *error* went through did not reach its end, in at most 500 characters."""
    if isinstance(error, Terminated):
        return f"terminated by {error.signal}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted with Ctrl-C"
    if isinstance(error, SystemExit):
        return f"sys.exit({error.code!r}) before the end of the run"
    if isinstance(error, GeneratorExit):
        return "left before its block began"
    return recordable(f"{type(error).__name__}: {error}")


def is_outage(error: BaseException) -> bool:
    """Whether *error* is the MLflow client giving up on a server, not one of its complaints about what was logged."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and str(error).startswith("API request to")
