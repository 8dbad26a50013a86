"""The engine of many machines: the workers of a Dask scheduler. A worker gets trials after it has proved itself.

Dask ships functions of importable modules by their name. So a worker runs the functions of its own checkout, and what
it says about itself is true of the code that would make the trial.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

import click

from ..display import listed, one_line
from ..errors import Unknown, refuse
from ..provenance.expected import differences, facts
from ..tracking.store import FILE
from . import trial
from .trial import Ended, Order

_CONNECT_S = 60.0  # a busy machine needs half a minute to answer
_PROOF_S = 180.0  # hashing the data takes its time
_CALL_S = 15.0  # for a worker to interrupt its trials
# For a worker to come: a busy machine needs more than half a minute to start one. Where others were refused, whoever
# started them waits for the message.
_NO_WORKER_S, _NONE_FITS_S = 90.0, 20.0
_STORE = "tracking store"


def prove(values: Mapping[str, Any], uri: str) -> dict[str, str]:
    """Return the facts of the process that calls this, for an experiment with *values* and a store at *uri*."""
    from ..provenance.gather import gather

    return facts(gather(values)) | store_fact(uri)


def store_fact(uri: str) -> dict[str, str]:
    """Return whether a database in a file is in reach; nothing for a server."""
    if not uri.startswith(FILE):
        return {}
    is_there = Path(uri.removeprefix(FILE)).is_file()
    return {_STORE: "in reach" if is_there else f"not in reach ({uri})"}


class Workers:
    """The workers of the scheduler at *address* that have the facts *expected*; at most *jobs* trials at a time."""

    def __init__(
        self, address: str, jobs: int | None, expected: Mapping[str, str], values: Mapping[str, Any], uri: str
    ) -> None:
        from distributed import Client

        self._address = address
        self._jobs = jobs
        self._expected = dict(expected) | store_fact(uri)
        self._given = (dict(values), uri)
        self._judged: dict[str, str] = {}  # {address of a worker: why it is refused, or "" if it is accepted}
        self._since = time.monotonic()
        self._places: dict[Future[Ended], set[str]] = {}
        try:
            self._client = Client(address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            problem = f"no scheduler answers at {one_line(address)} ({one_line(str(error), 200)})"
            refuse("--scheduler", problem, "start one: dask scheduler; its log says its address")
        self._await_workers()

    def _workers(self) -> dict[str, dict[str, Any]]:
        if self._client.status != "running":
            refuse(
                "--scheduler",
                f"the scheduler at {self._address} is gone",
                "start it and its workers, then: --resume",
                Unknown,
            )
        return self._client.scheduler_info(n_workers=-1)["workers"]

    def _accepted(self) -> dict[str, int]:
        """Return {address of an accepted worker that is there: how many trials it runs at a time}."""
        workers = self._workers()
        self._judge(workers)
        found = {address: info["nthreads"] for address, info in workers.items() if self._judged.get(address) == ""}
        if found:
            self._since = time.monotonic()
        return found

    def _judge(self, workers: Mapping[str, Mapping[str, Any]]) -> None:
        """Let each worker that is new prove itself; say which one is refused, and why."""
        new = [address for address in workers if address not in self._judged]
        if not new:
            return
        answers = self._ask_each(new, _PROOF_S, prove, *self._given)
        for address in new:
            match answers.get(address):
                case None:
                    why = f"it did not say within {_PROOF_S:.0f} seconds what it runs on"
                case Exception() as error:  # whatever a foreign worker raises, such as an ImportError of its own
                    why = f"it cannot prove what it runs on ({type(error).__name__}: {one_line(str(error), 200)})"
                case found:
                    why = "; ".join(differences(self._expected, found))
            self._judged[address] = why
            if why:
                name = one_line(str(workers[address].get("name", address)))
                click.echo(f"worker {name} at {address} gets no trial: {why}", err=True)

    def _ask_each(
        self, addresses: Iterable[str], seconds: float, function: Callable, *arguments: Any
    ) -> dict[str, Any]:
        """Return what *function* returned or raised on each worker: {address: value or exception}.

        A worker that does not answer within *seconds* is left out, and keeps neither the others nor this process.
        """
        answers: dict[str, Any] = {}

        def ask(address: str) -> None:
            try:
                answers[address] = self._client.run(function, *arguments, workers=[address])[address]
            except Exception as error:
                answers[address] = error

        threads = [Thread(target=ask, args=[address], daemon=True) for address in addresses]
        for thread in threads:
            thread.start()
        until = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return dict(answers)

    def _await_workers(self) -> None:
        while not self._accepted():
            self._require_hope()
            time.sleep(0.5)

    def _require_hope(self) -> None:
        """Raise Unknown if there was no worker for too long."""
        patience = _NONE_FITS_S if any(self._judged.values()) else _NO_WORKER_S
        if time.monotonic() - self._since < patience:
            return
        refused = [f"{address}: {why}" for address, why in self._judged.items() if why]
        if refused:
            problem = f"no worker is left that runs what the sweep runs on; refused: {listed(refused, 3, 400)}"
        else:
            problem = f"no worker is connected to {self._address}"
        refuse("--scheduler", problem, "start workers in checkouts of this commit: dask worker ADDRESS", Unknown)

    @property
    def slots(self) -> int:
        """How many trials can run at a time now."""
        accepted = self._accepted()
        if not accepted:
            self._require_hope()
        return min(sum(accepted.values()), self._jobs or 100_000)

    def submit(self, order: Order) -> "Future[Ended]":
        accepted = sorted(self._accepted())
        future = self._client.get_executor(workers=accepted, pure=False).submit(trial.make, order)
        self._places[future] = set(accepted)
        return future

    def lost(self, futures: "Mapping[Future[Ended], Order]") -> "list[Future[Ended]]":
        """Return those of *futures* for which no worker is left that may end them."""
        there = self._workers().keys()
        return [future for future in futures if not future.done() and not self._places[future] & there]

    def stop(self, parent: str) -> None:
        """Interrupt the trials of the sweep's run *parent*, on every worker."""
        self._on_all(trial.stop, parent)

    def close(self, parent: str) -> None:
        """Kill the trials that still run, and let go of the scheduler."""
        self._on_all(trial.kill, parent)
        self._client.close(timeout=10)

    def _on_all(self, function: Callable[[str], None], parent: str) -> None:
        if self._client.status == "running":
            there = [address for address in self._workers() if self._judged.get(address) == ""]
            self._ask_each(there, _CALL_S, function, parent)
