"""Reproducing a run against the training by itself: what a reproduction costs beside the training in it."""

import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from .stopwatch import Side, Timing, require_success, take_turns
from .table import AtMostSeconds, Row, Section
from .workshop import Workshop

ROUNDS = 7
LIMIT = 5.0
METHOD = """\
The sample experiment, recorded once; the packages of its lock are installed already, as in every later reproduction.
In each round `repro reproduce RUN_ID` runs as a whole command, and `repro train` trains the same experiment with the
same packages. What a reproduction costs is the difference of the two in one round: finding and reading the run, the
worktree, the data, the process that trains, and the comparison of every metric, the model and every file. `repro train`
ends with the run's validation, which is part of a reproduction too."""


def measure(workshop: Workshop) -> Section:
    """Record the run, let the sides take turns, and return the rows."""
    store = workshop.folder / "reproduction.db"
    env = workshop.child_env | {"MLFLOW_TRACKING_URI": f"sqlite:///{store}", "PYTHONHASHSEED": "0"}
    repro = workshop.child / "repro"
    train = [repro, "train", "configs/experiment.yaml", *(["--set=model.n_estimators=5"] if workshop.smoke else [])]

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
    reproduce = [repro, "reproduce", run_id]
    if not workshop.smoke:
        run(reproduce)  # installs the packages of the run
    sides: list[Side] = [lambda: {"reproduction": run(reproduce)}, lambda: {"training": run(train)}]
    times = take_turns("reproduction", sides, workshop.size(ROUNDS))
    pairs = zip(times["reproduction"].rounds, times["training"].rounds, strict=True)
    cost = Timing(tuple(one - other for one, other in pairs))
    peer = "`repro train`"
    rows = [
        Row("`repro reproduce` of the sample experiment", times["reproduction"], peer, times["training"]),
        Row("what it costs beside the training", cost, peer, times["training"], AtMostSeconds(LIMIT)),
    ]
    return Section("A reproduction", METHOD, rows)
