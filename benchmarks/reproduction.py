"""Making a run again against the training by itself: what a reproduction costs beside what it repeats."""

import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from .stopwatch import Timing, require_success, take_turns
from .table import Row, Section
from .workshop import Workshop

ROUNDS = 7
LIMIT = 5.0
METHOD = """\
The sample experiment, recorded once; the packages of its lock are there already, as they are from the second time on.
In each round `repro reproduce RUN_ID` runs as a whole command, and `repro train` trains the same experiment with the
same packages. What a reproduction costs is the difference of the two in one round: finding and reading the run, the
worktree, the data, the second process, and the comparison of every metric, the model and every file. `repro train` ends
with the run's validation, which is part of a reproduction too."""


class AtMostSeconds:
    """Ours takes at most so many seconds, whatever the peer takes."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def judge(self, ours: float, theirs: float) -> tuple[str, str, bool]:
        return f"{ours / theirs:.2f} of the peer's", f"at most {self.limit:g} s", ours <= self.limit


def measure(workshop: Workshop) -> Section:
    """Record the run, let the sides take turns, and return the rows."""
    store = workshop.folder / "reproduction.db"
    env = workshop.env | {"MLFLOW_TRACKING_URI": f"sqlite:///{store}", "PYTHONHASHSEED": "0"}
    repro = workshop.child / "repro"
    train = [repro, "train", "configs/experiment.yaml"]

    def run(command: list[str | Path]) -> float:
        started = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=workshop.project,
            env=env,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - started
        require_success(command, done)
        return seconds

    run(train)
    with closing(sqlite3.connect(store)) as database:
        ((run_id,),) = database.execute("SELECT run_uuid FROM runs")
    again = [repro, "reproduce", run_id]
    run(again)  # installs the packages of the run
    times = take_turns("reproduction", [lambda: {"again": run(again)}, lambda: {"training": run(train)}], ROUNDS)
    pairs = zip(times["again"].rounds, times["training"].rounds, strict=True)
    cost = Timing(tuple(one - other for one, other in pairs))
    peer = "`repro train`"
    rows = [
        Row("`repro reproduce` of the sample experiment", times["again"], peer, times["training"]),
        Row("what it costs beside the training", cost, peer, times["training"], AtMostSeconds(LIMIT)),
    ]
    return Section("A run made again", METHOD, rows)
