"""The stopwatch: several sides take turns, so that a busy moment of the machine meets all of them."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Side = Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Timing:
    """What one side took, in seconds: one entry for each round."""

    rounds: tuple[float, ...]

    @property
    def seconds(self) -> float:
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        return f"{_shown(self.seconds)} ({_shown(min(self.rounds))} to {_shown(max(self.rounds))})"


def _shown(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def take_turns(what: str, sides: list[Side], rounds: int) -> dict[str, Timing]:
    """Let each side run once a round, A B A B …, and return what each named thing took.

    A side measures by itself and returns {name: seconds}, so that what it has to prepare does not count.
    """
    taken: dict[str, list[float]] = {}
    print(f"{what}, {rounds} rounds: ", end="", file=sys.stderr, flush=True)
    for _ in range(rounds):
        for side in sides:
            for name, seconds in side().items():
                taken.setdefault(name, []).append(seconds)
        print(".", end="", file=sys.stderr, flush=True)
    say("")
    timings = {name: Timing(tuple(seconds)) for name, seconds in taken.items()}
    for name, timing in timings.items():
        say(f"    {name}: {timing}")
    return timings


def seconds_of(command: list[str | Path], folder: Path, env: Mapping[str, str]) -> float:
    """Run a command to its end in *folder* and return the seconds it took; raises RuntimeError where it fails."""
    return seconds_and_cpu_of(command, folder, env)[0]


def seconds_and_cpu_of(
    command: list[str | Path], folder: Path, env: Mapping[str, str], status: int = 0
) -> tuple[float, float]:
    """Run a command as `seconds_of` does; return its seconds, and the CPU seconds of the command and its children.

    status: how the command ends where it does what it should.
    """
    started, before = time.perf_counter(), _cpu_of_children()
    done = subprocess.run(
        command, cwd=folder, env=env, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    seconds, cpu = time.perf_counter() - started, _cpu_of_children() - before
    require_success(command, done, status)
    return seconds, cpu


@dataclass(frozen=True)
class Usage:
    """What a process took: CPU seconds and its peak of memory in MiB; and what it printed."""

    cpu: float
    memory: int
    output: str


def usage_of(command: list[str | Path], folder: Path, env: Mapping[str, str]) -> Usage:
    """Run a command to its end in *folder*; raises RuntimeError where it fails."""
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        output = printed.read()
    require_success(command, subprocess.CompletedProcess(command, process.returncode, output, ""))
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Usage(used.ru_utime + used.ru_stime, used.ru_maxrss // unit, output)


def _cpu_of_children() -> float:
    """The CPU seconds of all processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def require_success(command: list[str | Path], done: subprocess.CompletedProcess[str], status: int = 0) -> None:
    if done.returncode != status:
        raise RuntimeError(f"{Path(command[0]).name} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
