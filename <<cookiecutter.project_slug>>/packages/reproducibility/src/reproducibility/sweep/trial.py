"""A trial as a process: the command that a person would type, started and waited for. Imports no MLflow.

This runs in the process of the sweep, or in a Dask worker on another machine. A worker imports this module from its own
checkout: see `workers`.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

from ..display import one_line
from ..project import CACHE, PROJECT_ROOT
from ..provenance import expected
from ..tracking import trial as own_trial
from ..tracking.trial import Trial
from .lifeline import VARIABLE as LIFELINE

# How many threads numeric libraries take. A user who sets one of them decides for all.
_THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS"),
)
# What belongs to the process of the sweep, and not to a trial.
_OF_THE_SWEEP = ("REPRODUCIBILITY_OPEN_RUNS", "MLFLOW_RUN_ID")
_SHOWN = 300  # characters of the last line that a trial printed
_TAIL = 4096  # bytes


@dataclass(frozen=True)
class Order:
    """What a process needs to make a trial.

    script: from the root of the project. arguments: of the script. facts: what the process must find, see `expected`.
    variables: more of its environment.
    """

    trial: Trial
    script: str
    arguments: tuple[str, ...]
    facts: Mapping[str, str]
    variables: Mapping[str, str]

    @property
    def command(self) -> str:
        """The command as a person types it."""
        return subprocess.list2cmdline(["python", self.script, *self.arguments])


@dataclass(frozen=True)
class Ended:
    """How the process of a trial ended: its status, negative for a signal, and the last line that it printed."""

    status: int
    last_line: str


# {(id of the sweep's run, number of the trial): process}, and the sweeps' runs whose trials are to stop.
_running: dict[tuple[str, int], "subprocess.Popen[bytes]"] = {}
_stopped: set[str] = set()


def make(order: Order, beside: int | None = None) -> Ended:
    """Make the trial of *order* in a process, and return how the process ended.

    *beside*: how many trials run on this machine at a time; None in a Dask worker, which knows its own number.
    """
    key = (order.trial.parent, order.trial.number)
    output = CACHE / "sweeps" / order.trial.sweep / f"trial-{order.trial.number}.log"
    output.parent.mkdir(parents=True, exist_ok=True)
    with open(output, "ab") as log:
        begin = log.tell()
        if order.trial.parent in _stopped:
            return Ended(-signal.SIGINT, "the sweep was stopped before the trial began")
        # In a session of its own: Ctrl-C reaches the sweep alone, which passes it on.
        options = {"start_new_session": True} if os.name == "posix" else {}
        process = subprocess.Popen(
            [sys.executable, order.script, *order.arguments],
            cwd=PROJECT_ROOT,
            env=_environment(order, beside or _threads_of_worker()),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            **options,
        )
        _running[key] = process
        try:
            if order.trial.parent in _stopped:  # stopped while the process started
                _interrupt(process)
            status = process.wait()
        finally:
            del _running[key]
            process.stdin.close()
    return Ended(status, _last_line(output, begin))


def stop(parent: str) -> None:
    """Interrupt all trials of the sweep's run *parent* that this process makes, and begin none of them any more."""
    _stopped.add(parent)
    for (owner, _), process in list(_running.items()):
        if owner == parent:
            _interrupt(process)


def kill(parent: str) -> None:
    """Kill what `stop` did not end."""
    for (owner, _), process in list(_running.items()):
        if owner == parent:
            process.kill()


def _interrupt(process: "subprocess.Popen[bytes]") -> None:
    with suppress(OSError):
        process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)


def _environment(order: Order, beside: int) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in _OF_THE_SWEEP}
    if beside > 1 and not any(name in own for name in _THREADS):
        share = max(1, _processors() // beside)
        own |= dict.fromkeys(_THREADS, str(share))
    own |= order.variables
    return own | {
        own_trial.VARIABLE: json.dumps(asdict(order.trial)),
        expected.VARIABLE: json.dumps(dict(order.facts)),
        LIFELINE: "stdin",
    }


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads_of_worker() -> int:
    """Return how many tasks the Dask worker of this process runs at a time."""
    from distributed import get_worker

    return get_worker().state.nthreads


def _last_line(output: "os.PathLike[str]", begin: int) -> str:
    with open(output, "rb") as log:
        end = log.seek(0, os.SEEK_END)
        log.seek(max(begin, end - _TAIL))
        lines = log.read().decode("utf-8", "replace").splitlines()
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return one_line(last.removeprefix("Error: "), _SHOWN)
