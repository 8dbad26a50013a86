"""The difference of two big runs, `repro diff`, against MLflow's own client reading what is to be compared."""

import json
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from .stopwatch import Side, require_success, take_turns
from .table import Faster, Row, Section
from .workshop import Workshop

ROUNDS = 3
PARAMS, METRICS, STEPS = 1_000, 100, 10_000
METHOD = f"""\
Two tracked runs of one commit in the embedded database, with {PARAMS:,} params, of which one differs, and {METRICS}
metrics of {STEPS:,} steps, of which one parts in its middle. `repro diff` is the whole command, with the start of
Python and the import of MLflow, which takes about half of the small one; `--html` and `--plot` write their file too.
The peer is a process that imports MLflow and asks its client for the same histories, and compares nothing."""
RECORD = """\
import sys
from reproducibility import tracked_run
for odd in (0, 1):
    knobs = {f"knob_{number}": number for number in range(PARAMS)} | {"knob_7": 7 + odd}
    config = {"experiment_name": "big", "seed": 1, "data": {"path": "data/penguins.csv"}, "knobs": knobs}
    with tracked_run(config) as run:
        print(run.info.run_id)
"""
PEER = """\
import sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
for run_id in sys.argv[2:]:
    for name in client.get_run(run_id).data.metrics:
        client.get_metric_history(run_id, name)
"""


def measure(workshop: Workshop) -> Section:
    """Record the runs, compare them, and return the rows."""
    project = Path(shutil.copytree(workshop.project, workshop.folder / "diff", symlinks=True))
    script = project / "scripts" / "record.py"
    script.write_text(RECORD.replace("PACKAGE", workshop.package).replace("PARAMS", str(PARAMS)))
    env = workshop.env | {"AUTHOR": "Ada Lovelace <ada@example.com>", "PYTHONPATH": str(project / "src")}

    def run(*command: str | Path, status: int = 0) -> str:
        arguments = [workshop.child / command[0], *command[1:]]
        done = subprocess.run(arguments, cwd=project, env=env, check=False, capture_output=True, text=True)
        if done.returncode != status:
            require_success(arguments, done)
        return done.stdout

    ids = run("python", script).split()
    small = _timed("a small one", run, *ids)
    small_times = take_turns("diff, small", [small], ROUNDS)
    store = project / "mlflow.db"
    _log(store, ids)
    found = json.loads(run("repro", "diff", *ids, "--json", status=1))
    parted = [(metric["name"], metric["parting"]["step"]) for metric in found["metrics"] if not metric["same"]]
    if parted != [("metric_7", STEPS // 2)] or [cause["key"] for cause in found["causes"]] != ["knobs.knob_7"]:
        raise RuntimeError(f"repro diff found {parted} and {found['causes']}")

    def peer() -> dict[str, float]:
        started = time.perf_counter()
        run("python", "-c", PEER, f"sqlite:///{store}", *ids)
        return {"the client alone": time.perf_counter() - started}

    drawn = ("--html", "page.html", "--plot", "plot.png")
    sides: list[Side] = [_timed("big", run, *ids), _timed("drawn", run, *ids, *drawn), peer]
    times = take_turns("diff, big", sides, ROUNDS)
    what = f"repro diff of {PARAMS:,} params and {METRICS} metrics x {STEPS:,} steps"
    return Section(
        "The difference of two runs",
        METHOD,
        [
            Row(what, times["big"], "the client alone", times["the client alone"], Faster(3)),
            Row(f"{what}, --html and --plot", times["drawn"], "without them", times["big"]),
            Row(what, times["big"], "without the metrics", small_times["a small one"]),
        ],
    )


def _timed(name: str, run: Callable[..., str], *arguments: str) -> Side:
    def side() -> dict[str, float]:
        started = time.perf_counter()
        run("repro", "diff", *arguments, status=1)
        return {name: time.perf_counter() - started}

    return side


def _log(store: Path, ids: list[str]) -> None:
    """Write the histories into the database, as a million calls of `log_metric` for each run would."""
    with closing(sqlite3.connect(store)) as database:
        for odd, run_id in enumerate(ids):
            for number in range(METRICS):
                name, last = f"metric_{number}", 0.0
                rows = []
                for step in range(STEPS):
                    last = ((step * 7919 + number * 104729) % 1000003) / 1000003
                    last += (odd and number == 7 and step >= STEPS // 2) * 0.5
                    rows.append((name, last, 1_700_000_000_000 + step, run_id, step, 0))
                insert = "INSERT INTO {} (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
                database.executemany(insert.format("metrics"), rows)
                database.execute(insert.format("latest_metrics"), rows[-1])
        database.commit()
