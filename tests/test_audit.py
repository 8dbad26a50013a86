"""The audit: which recorded runs can be reproduced, and what becomes of runs whose process was killed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shutil import copy, copytree, rmtree
from subprocess import CompletedProcess

import pytest
from conftest import code_of
from workbench import Workbench, store_at

# A run ends between what the audit has read and what it writes.
ENDING = """
CREATE TRIGGER ending BEFORE INSERT ON tags WHEN NEW.key = 'failure' AND NEW.run_uuid = ?
BEGIN UPDATE runs SET status = 'FAILED' WHERE run_uuid = ?; END
"""
# Runs whose files this machine cannot reach: MLflow raises another kind of error for each place.
UNREADABLE = {"in s3": "s3://nowhere/run", "in dbfs": "dbfs:/nowhere/run", "in hdfs": "hdfs://nowhere/run"}


class AuditWorkbench(Workbench):
    """A store with one run of each kind, two of them of a process that was killed."""

    while_alive: CompletedProcess[str]  # an audit with --close-dead, before that process was killed


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]],
    python: Path,
    clean_env: dict[str, str],
    project: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AuditWorkbench:
    workbench = AuditWorkbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("audit") / project.name)))
    workbench.add("record.py")
    workbench.commit()
    env = clean_env | {"PYTHONPATH": code_of(workbench.path), "PYTHONWARNINGS": "ignore"}
    recording = subprocess.Popen(
        [python, "scripts/record.py"], env=env, cwd=workbench.path, stdout=subprocess.PIPE, text=True
    )
    assert recording.stdout.readline() == "ready\n"
    workbench.while_alive = workbench.run("repro", "audit", "first", "--close-dead", "--json")
    recording.kill()  # as kill -9: the process cannot react
    assert recording.wait() == (1 if sys.platform == "win32" else -signal.SIGKILL)
    recording.stdout.close()
    runs = workbench.runs()
    with closing(sqlite3.connect(workbench.store)) as database, database:
        altered = runs["altered"].id
        database.execute("UPDATE tags SET value = 'x' WHERE key = 'git_branch' AND run_uuid = ?", (altered,))
        plain = runs["of plain MLflow"]
        database.execute("DELETE FROM tags WHERE key NOT LIKE 'mlflow.%' AND run_uuid = ?", (plain.id,))
        database.execute("DELETE FROM params WHERE run_uuid = ?", (plain.id,))
        for name, uri in UNREADABLE.items():
            database.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (uri, runs[name].id))
    rmtree(plain.evidence)
    return workbench


@pytest.fixture(scope="module")
def audited(workbench: AuditWorkbench) -> tuple[int, dict[str, dict]]:
    """The audit of the whole store, with its exit status."""
    return audit(workbench)


def audit(workbench: Workbench, *options: str) -> tuple[int, dict[str, dict]]:
    """Return the status of an audit, and {name of the run: what the audit reports}."""
    done = workbench.run("repro", "audit", "--json", *options)
    found = json.loads(done.stdout)
    names = {run.id: run.name for run in workbench.runs().values()}
    return done.returncode, {names[run["run_id"]]: run for run in found["runs"]}


def test_every_run_is_named_with_its_class(audited: tuple[int, dict[str, dict]]) -> None:
    status, runs = audited
    assert status == 1
    assert {name: run["verdict"] for name, run in runs.items()} == {
        "good": "complies",
        "good elsewhere": "complies",
        "altered": "does not comply",
        "failed": "ended without a result",
        "killed": "died",
        "killed child": "died",
        "of plain MLflow": "does not comply",
        **dict.fromkeys(UNREADABLE, "unknown"),
    }
    assert "tags are the manifest's: git_branch: 'x' instead of 'main'" in runs["altered"]["problems"][0]
    assert runs["failed"]["problems"] == ["ValueError: no rows"]


def test_one_experiment_is_judged_by_itself(workbench: Workbench) -> None:
    status, runs = audit(workbench, "second")
    assert (status, [*runs]) == (0, ["good elsewhere"])
    done = workbench.run("repro", "audit", "second")
    assert "1 run in" in done.stdout
    assert "1 complies." in " ".join(done.stdout.split())
    done = workbench.run("repro", "audit", "fourth")
    assert done.returncode == 2
    known = "take one of these: Default, first, second, third"
    assert f"experiment: there is no 'fourth'. To fix it: {known}" in done.stderr


def test_a_run_whose_files_cannot_be_reached_is_named_and_the_others_are_judged(
    audited: tuple[int, dict[str, dict]],
) -> None:
    _, runs = audited
    for name in UNREADABLE:
        assert runs[name]["problems"][0].startswith(f"run {runs[name]['run_id']}: its evidence cannot be read (")
        assert len(runs[name]["problems"]) == 1


def test_an_audit_that_could_not_read_every_run_does_not_pass(workbench: Workbench, tmp_path) -> None:
    store = tmp_path / "copy.db"
    copy(workbench.store, store)
    with closing(sqlite3.connect(store)) as database, database:
        database.execute(
            "DELETE FROM tags WHERE run_uuid IN (SELECT run_uuid FROM runs WHERE name = 'of plain MLflow')"
        )
        database.execute("UPDATE runs SET status = 'FAILED' WHERE name = 'of plain MLflow'")
    done = workbench.run("repro", "audit", "third", "--json", env=store_at(store))
    assert (done.returncode, json.loads(done.stdout)["holds"]) == (2, False)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        *((name, ("validate", "RUN")) for name in UNREADABLE),
        ("in s3", ("reproduce", "RUN")),
        ("in s3", ("diff", "RUN", "RUN")),
        ("in s3", ("promote", "RUN", "--model", "m", "--alias", "champion")),
    ],
)
def test_commands_that_need_unreachable_files_say_so_in_one_line(
    workbench: Workbench, name: str, command: tuple[str, ...]
) -> None:
    run_id = workbench.runs()[name].id
    done = workbench.run("repro", *(run_id if word == "RUN" else word for word in command))
    assert done.returncode == 2
    assert f"run {run_id}: its evidence cannot be read (" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_run_of_plain_mlflow_is_listed_with_everything_that_it_lacks(
    audited: tuple[int, dict[str, dict]],
) -> None:
    problems = audited[1]["of plain MLflow"]["problems"]
    assert problems == [
        "required tags and params: it has no git_commit, git_branch, git_remote, git_dirty, data_version, author, "
        "config_digest, lock_digest, image, manifest_digest, data_version, seed",
        "evidence: missing: manifest.json, config.yaml, requirements.txt",
    ]


def test_an_audit_of_a_store_that_is_not_there_creates_none(workbench: Workbench, tmp_path: Path) -> None:
    for command in (("audit",), ("validate", "last"), ("diff", "last", "last")):
        done = workbench.run("repro", *command, env=store_at(tmp_path / "mistyped.db"))
        assert done.returncode == 2, command
        assert "mistyped.db cannot be used: there is nothing. " in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert [*tmp_path.iterdir()] == []


def test_a_run_that_ends_while_it_is_closed_is_judged_as_it_ended(workbench: Workbench, tmp_path: Path) -> None:
    store = tmp_path / "copy.db"
    copy(workbench.store, store)
    run_id = workbench.runs()["killed"].id
    with closing(sqlite3.connect(store)) as database, database:
        database.execute(ENDING.replace("?", f"'{run_id}'"))
    done = workbench.run("repro", "audit", "--close-dead", "--json", env=store_at(store))
    assert done.returncode == 1, done.stderr
    runs = {run["run_id"]: run for run in json.loads(done.stdout)["runs"]}
    assert (runs[run_id]["status"], runs[run_id]["verdict"]) == ("FAILED", "ended without a result")
    assert workbench.runs(store)["killed child"].status == "KILLED"


def test_people_see_a_table_of_what_needs_their_eyes(workbench: Workbench) -> None:
    done = workbench.run("repro", "audit", env={"COLUMNS": "120"})
    runs = workbench.runs()
    assert all(runs[name].id in done.stdout for name in ("altered", "failed", "killed"))
    assert runs["good"].id not in done.stdout
    counted = "2 comply, 2 died, 2 do not comply, 3 unknown, 1 ended without a result."
    assert counted in " ".join(done.stdout.split())
    assert ".." not in done.stdout


def test_a_terminal_shows_how_many_runs_are_checked(workbench: Workbench) -> None:
    pty = pytest.importorskip("pty", reason="terminals of Windows are others")
    controller, terminal = pty.openpty()
    streams = {"capture_output": False, "stdout": subprocess.PIPE, "stderr": terminal}
    done = workbench.run("repro", "audit", "--json", **streams)
    os.close(terminal)
    shown = os.read(controller, 100_000).decode()
    os.close(controller)
    assert len(json.loads(done.stdout)["runs"]) == len(workbench.runs()) == 10
    assert "checking the runs" in shown
    assert shown.rstrip("\r\n\x1b[?25h").endswith(" 10")


def test_only_the_dead_of_this_machine_are_closed(workbench: Workbench, tmp_path: Path) -> None:
    other = Workbench(workbench._run_in, Path(copytree(workbench.path, tmp_path / workbench.path.name)))
    runs = other.runs()
    elsewhere = runs["killed child"].tags["reproducibility.process"].replace(" ", "-elsewhere ", 1)
    with closing(sqlite3.connect(other.store)) as database, database:
        database.execute(
            "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)",
            (str(workbench.path), str(other.path)),
        )
        database.execute(
            "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)", (str(workbench.path), str(other.path))
        )
        database.execute(
            "UPDATE tags SET value = ? WHERE key = 'reproducibility.process' AND run_uuid = ?",
            (elsewhere, runs["killed child"].id),
        )
    status, found = audit(other, "--close-dead")
    assert status == 1  # one is altered still
    assert (found["killed"]["status"], found["killed"]["verdict"]) == ("KILLED", "ended without a result")
    assert found["killed child"]["verdict"] == "running"
    after = other.runs()
    assert after["killed"].status == "KILLED"
    assert "closed by `repro audit --close-dead`" in after["killed"].tags["failure"]
    assert after["killed child"].status == "RUNNING"
    assert after["good"].status == "FINISHED"


def test_a_run_that_still_runs_is_left_alone(workbench: AuditWorkbench) -> None:
    runs = json.loads(workbench.while_alive.stdout)["runs"]
    assert [run["verdict"] for run in runs if run["status"] == "RUNNING"] == ["running"] * 2  # and its child
    assert "died" not in workbench.while_alive.stdout
    assert workbench.runs()["killed"].status == "RUNNING"
