"""The difference of two big runs, `repro diff`, against MLflow's own client reading what is to be compared."""

import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from .stopwatch import Side, require_success, seconds_and_cpu_of, take_turns
from .table import AtMost, Faster, Row, Section
from .workshop import MACHINERY, Workshop

ROUNDS = 3
PARAMS, METRICS, STEPS = 1_000, 100, 10_000
RECORD, CLIENT, PLAIN = (
    Path(__file__).with_name(name) for name in ("diff_record.py", "diff_client.py", "diff_plain.py")
)
METHOD = """\
Two tracked runs of one commit in the embedded database. One of their params differs, and one of their metrics
diverges in the middle. `repro diff` is the whole command, with the start of Python and the import of MLflow, which
takes about half of the small one; `--html` writes its page too. The peer is a process that imports MLflow and asks its
client for the same histories, and compares nothing. The plain read is a process that fetches the rows of both runs with
Python's module sqlite3; it imports no MLflow, so the start of `repro diff` is the larger part of the difference."""


def measure(workshop: Workshop) -> Section:
    """Record the runs, compare them, and return the rows."""
    project = Path(shutil.copytree(workshop.project, workshop.folder / "diff", symlinks=True))
    params, metrics, steps = (workshop.size(full, smoke=10) for full in (PARAMS, METRICS, STEPS))
    script = shutil.copy(RECORD, project / "scripts")
    code = os.pathsep.join([str(project / "src"), str(project / MACHINERY / "src")])
    env = workshop.env | {"AUTHOR": "Ada Lovelace <ada@example.com>", "PYTHONPATH": code}

    def run(*command: str | Path, status: int = 0) -> str:
        arguments = [workshop.child / command[0], *command[1:]]
        done = subprocess.run(arguments, cwd=project, env=env, check=False, capture_output=True, text=True)
        if done.returncode != status:
            require_success(arguments, done)
        return done.stdout

    ids = run("python", script, str(params)).split()
    rounds = workshop.size(ROUNDS)
    small_times = take_turns("diff, small", [_timed("a small one", run, *ids)], rounds)
    store = project / "mlflow.db"
    _log(store, ids, metrics, steps)
    found = json.loads(run("repro", "diff", *ids, "--json", status=1))
    diverging = [(metric["name"], metric["divergence"]["step"]) for metric in found["metrics"] if not metric["same"]]
    inputs = found["input_differences"]
    if diverging != [("metric_7", steps // 2)] or [each["name"] for each in inputs] != ["knobs.knob_7"]:
        raise RuntimeError(f"repro diff found {diverging} and {inputs}")

    def peer() -> dict[str, float]:
        started = time.perf_counter()
        run("python", CLIENT, f"sqlite:///{store}", *ids)
        return {"the client alone": time.perf_counter() - started}

    sides: list[Side] = [_timed("big", run, *ids), _timed("page", run, *ids, "--html", "page.html"), peer]
    times = take_turns("diff, big", sides, rounds)

    def of(name: str, status: int, program: str, *arguments: str | Path) -> Side:
        def side() -> dict[str, float]:
            seconds, cpu = seconds_and_cpu_of([workshop.child / program, *arguments], project, env, status)
            return {name: seconds, f"{name}, CPU": cpu}

        return side

    plain = [of("diff", 1, "repro", "diff", *ids), of("plain read", 0, "python", PLAIN, store, *ids)]
    times |= take_turns("diff and the plain read", plain, rounds)
    what = f"repro diff of {params:,} params and {metrics} metrics x {steps:,} steps"
    return Section(
        "The difference of two runs",
        METHOD,
        [
            Row(what, times["big"], "the client alone", times["the client alone"], Faster(3)),
            Row(f"{what}, --html", times["page"], "without --html", times["big"]),
            Row(what, times["big"], "without the metrics", small_times["a small one"]),
            Row(what, times["diff"], "the plain read", times["plain read"], AtMost(2)),
            Row(f"{what}, CPU", times["diff, CPU"], "the plain read", times["plain read, CPU"], AtMost(2)),
        ],
    )


def _timed(name: str, run: Callable[..., str], *arguments: str) -> Side:
    def side() -> dict[str, float]:
        started = time.perf_counter()
        run("repro", "diff", *arguments, status=1)
        return {name: time.perf_counter() - started}

    return side


def _log(store: Path, ids: list[str], metrics: int, steps: int) -> None:
    """Write the histories into the database, as a million calls of `log_metric` for each run would."""
    with closing(sqlite3.connect(store)) as database:
        for odd, run_id in enumerate(ids):
            for number in range(metrics):
                name, last = f"metric_{number}", 0.0
                rows = []
                for step in range(steps):
                    last = ((step * 7919 + number * 104729) % 1000003) / 1000003
                    last += (odd and number == 7 and step >= steps // 2) * 0.5
                    rows.append((name, last, 1_700_000_000_000 + step, run_id, step, 0))
                insert = "INSERT INTO {} (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
                database.executemany(insert.format("metrics"), rows)
                database.execute(insert.format("latest_metrics"), rows[-1])
        database.commit()
