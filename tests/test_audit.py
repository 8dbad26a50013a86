"""The audit: which recorded runs could be made again, and what becomes of runs whose process was killed."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from laboratory import Laboratory

RECORD = """
import os, sys, time, mlflow
from PACKAGE.reproducibility import tracked_run
VALUES = {"experiment_name": "first", "seed": 1, "data": {"path": "data/penguins.csv"}}
def record(name, **more):
    with tracked_run(VALUES | more, run_name=name): mlflow.log_metric("a", 1.0)
record("good")
record("good elsewhere", experiment_name="second")
record("altered")
try:
    with tracked_run(VALUES, run_name="failed"): raise ValueError("no rows")
except ValueError: pass
with tracked_run(VALUES, run_name="killed"):
    with mlflow.start_run(nested=True, run_name="killed child"):
        print("ready", flush=True)
        time.sleep(600)
"""


@pytest.fixture(scope="module")
def laboratory(
    run_in: Callable[..., CompletedProcess[str]],
    python: Path,
    clean_env: dict[str, str],
    project: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Laboratory:
    """A store with one run of each kind, two of them of a process that was killed."""
    laboratory = Laboratory(run_in, Path(copytree(project, tmp_path_factory.mktemp("audit") / project.name)))
    laboratory.write("scripts/record.py", RECORD)
    laboratory.commit()
    env = clean_env | {"PYTHONPATH": str(laboratory.path / "src"), "PYTHONWARNINGS": "ignore"}
    recording = subprocess.Popen(
        [python, "scripts/record.py"], env=env, cwd=laboratory.path, stdout=subprocess.PIPE, text=True
    )
    assert recording.stdout.readline() == "ready\n"
    recording.kill()  # as kill -9: nothing in the process hears of it
    assert recording.wait() == (1 if sys.platform == "win32" else -signal.SIGKILL)
    recording.stdout.close()
    with closing(sqlite3.connect(laboratory.store)) as database, database:
        altered = laboratory.runs()["altered"].id
        database.execute("UPDATE tags SET value = 'x' WHERE key = 'git_branch' AND run_uuid = ?", (altered,))
    return laboratory


def audit(laboratory: Laboratory, *options: str) -> tuple[int, dict[str, dict]]:
    """Return the status of an audit, and what it says of each run by the run's name."""
    done = laboratory.run("repro", "audit", "--json", *options)
    found = json.loads(done.stdout)
    names = {run.id: run.name for run in laboratory.runs().values()}
    return done.returncode, {names[run["run_id"]]: run for run in found["runs"]}


def test_every_run_is_named_with_what_it_is_worth(laboratory: Laboratory) -> None:
    status, runs = audit(laboratory)
    assert status == 1
    assert {name: run["verdict"] for name, run in runs.items()} == {
        "good": "complies",
        "good elsewhere": "complies",
        "altered": "does not comply",
        "failed": "ended without a result",
        "killed": "died",
        "killed child": "died",
    }
    assert "tags are the manifest's: git_branch: 'x' instead of 'main'" in runs["altered"]["problems"][0]
    assert runs["failed"]["problems"] == ["ValueError: no rows"]


def test_one_experiment_is_judged_by_itself(laboratory: Laboratory) -> None:
    assert [*audit(laboratory, "second")[1]] == ["good elsewhere"]
    assert audit(laboratory, "second")[0] == 0
    done = laboratory.run("repro", "audit", "third")
    assert done.returncode == 2
    assert "experiment: there is no 'third'. To fix it: take one of these: Default, first, second" in done.stderr


def test_people_see_a_table_of_what_needs_their_eyes(laboratory: Laboratory) -> None:
    done = laboratory.run("repro", "audit", env={"COLUMNS": "120"})
    runs = laboratory.runs()
    assert all(runs[name].id in done.stdout for name in ("altered", "failed", "killed"))
    assert runs["good"].id not in done.stdout
    assert "2 complies, 2 died, 1 does not comply, 1 ended without a result" in " ".join(done.stdout.split())


def test_only_the_dead_of_this_machine_are_closed(laboratory: Laboratory, tmp_path: Path) -> None:
    copy = Laboratory(laboratory._run_in, Path(copytree(laboratory.path, tmp_path / laboratory.path.name)))
    runs = copy.runs()
    elsewhere = runs["killed child"].tags["process"].replace(" ", "-elsewhere ", 1)
    with closing(sqlite3.connect(copy.store)) as database, database:
        database.execute(
            "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)",
            (str(laboratory.path), str(copy.path)),
        )
        database.execute(
            "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)", (str(laboratory.path), str(copy.path))
        )
        database.execute(
            "UPDATE tags SET value = ? WHERE key = 'process' AND run_uuid = ?", (elsewhere, runs["killed child"].id)
        )
    status, found = audit(copy, "--close-dead")
    assert status == 1  # one is altered still
    assert (found["killed"]["status"], found["killed"]["verdict"]) == ("KILLED", "ended without a result")
    assert found["killed child"]["verdict"] == "running"
    after = copy.runs()
    assert after["killed"].status == "KILLED"
    assert "closed by `repro audit --close-dead`" in after["killed"].tags["failure"]
    assert after["killed child"].status == "RUNNING"
    assert after["good"].status == "FINISHED"


def test_a_run_that_still_runs_is_left_alone(laboratory: Laboratory, tmp_path: Path, python, clean_env) -> None:
    env = clean_env | {"PYTHONPATH": str(laboratory.path / "src"), "PYTHONWARNINGS": "ignore"}
    env |= {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'living.db'}"}
    living = subprocess.Popen(
        [python, "scripts/record.py"], env=env, cwd=laboratory.path, stdout=subprocess.PIPE, text=True
    )
    try:
        assert living.stdout.readline() == "ready\n"
        store = {"MLFLOW_TRACKING_URI": env["MLFLOW_TRACKING_URI"]}
        done = laboratory.run("repro", "audit", "first", "--close-dead", "--json", env=store)
        verdicts = {run["verdict"] for run in json.loads(done.stdout)["runs"] if run["status"] == "RUNNING"}
        assert verdicts == {"running"}
        assert laboratory.runs(tmp_path / "living.db")["killed"].status == "RUNNING"
        assert "died" not in done.stdout
    finally:
        living.kill()
        living.wait()
        living.stdout.close()
