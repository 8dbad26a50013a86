"""The stopwatch: several sides take turns, so that a busy moment of the machine meets all of them."""

import statistics
import subprocess
import sys
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
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=env, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    seconds = time.perf_counter() - started
    require_success(command, done)
    return seconds


def require_success(command: list[str | Path], done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
