"""The engine of one machine: as many processes at a time as asked."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from . import trial
from .trial import Ended, Order


class Local:
    """Makes up to *jobs* trials at a time on this machine."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="trial")

    @property
    def slots(self) -> int:
        """How many trials can run at a time now."""
        return self._jobs

    def submit(self, order: Order) -> "Future[Ended]":
        return self._pool.submit(trial.make, order, self._jobs)

    def lost(self, futures: "Mapping[Future[Ended], Order]") -> "list[Future[Ended]]":
        """Return the futures that no worker will ever end: none, for all workers are threads of this process."""
        return []

    def stop(self, parent: str) -> None:
        """Interrupt the trials of the sweep's run *parent*."""
        trial.stop(parent)

    def close(self, parent: str) -> None:
        """Kill the trials that still run, and let go of everything."""
        trial.kill(parent)
        self._pool.shutdown()
