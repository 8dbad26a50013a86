"""The locks of runs: many requests may write to a run at a time, and the one that ends it is alone with it.

So the end of a run is judged by the tags, params and files that the ended run has. The locks are in the memory of one
process: a server has one worker.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class RunLock:
    """The state of one run in this process. Only `RunLocks` changes it."""

    run_id: str
    holders: int = 0  # how many requests have the lock open
    writers: int = 0
    is_ending: bool = False
    has_ended: bool = False  # since the first holder opened the lock


class RunLocks:
    """The locks of the runs that somebody writes to now."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._locks: dict[str, RunLock] = {}
        self._own = threading.local()  # the ids of the runs that this thread writes to

    def open(self, run_id: str) -> RunLock:
        """Return the lock of a run. From now on the lock knows whether the run ends. `close` it."""
        with self._changed:
            lock = self._locks.setdefault(run_id, RunLock(run_id))
            lock.holders += 1
            return lock

    def close(self, lock: RunLock) -> None:
        with self._changed:
            lock.holders -= 1
            if not lock.holders:
                del self._locks[lock.run_id]

    def start_writing(self, lock: RunLock, *, wait: bool = True) -> bool:
        """Wait until nobody ends the run, and keep the run from being ended until `stop_writing`.

        Without *wait*: return False, and do nothing, if somebody ends the run now.
        """
        with self._changed:
            while lock.is_ending:
                if not wait:
                    return False
                self._changed.wait()
            lock.writers += 1
            return True

    def stop_writing(self, lock: RunLock) -> None:
        with self._changed:
            lock.writers -= 1
            self._changed.notify_all()

    def is_writing(self, run_id: str) -> bool:
        """Whether this thread is in a block of `writing` for the run."""
        return run_id in self._own.__dict__.get("runs", ())

    @contextmanager
    def writing(self, run_id: str) -> Iterator[None]:
        """Write to a run that nobody ends meanwhile. Methods of MLflow that write call others that write, too."""
        own = self._own.__dict__.setdefault("runs", set())
        if run_id in own:
            yield
            return
        lock = self.open(run_id)
        try:
            self.start_writing(lock)
            own.add(run_id)
            try:
                yield
            finally:
                own.discard(run_id)
                self.stop_writing(lock)
        finally:
            self.close(lock)

    @contextmanager
    def ending(self, run_id: str) -> Iterator[RunLock]:
        """Wait for everybody who writes to the run, and let nobody else write or end it until the end of the block."""
        lock = self.open(run_id)
        try:
            with self._changed:
                while lock.is_ending:
                    self._changed.wait()
                lock.is_ending = True
                while lock.writers:
                    self._changed.wait()
            try:
                yield lock
            finally:
                with self._changed:
                    lock.is_ending = False
                    self._changed.notify_all()
        finally:
            self.close(lock)
