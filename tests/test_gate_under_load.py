"""Many clients at once before the gate, on PostgreSQL: complete runs are recorded whole, the others are refused."""

import json
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess
from typing import NamedTuple

import pytest
from conftest import code_of
from postgres_server import postgres_server, programs
from tracking_server import TrackingServer
from workbench import SCRIPTS, Workbench

# Every client has runs in flight when the server restarts, and each of the five ways to lack something occurs.
CLIENTS, RUNS = 16, 64
EVIDENCE = ["config.yaml", "manifest.json", "requirements.txt"]


class Crowds(NamedTuple):
    """What 16 clients at once recorded, first undisturbed, then with a restart of the server in the middle.

    ended: {crowd: how each of its runs ended for its client}. stored: {run id: the run as the database has it}.
    """

    ended: dict[str, list[dict]]
    stored: dict[str, dict]

    def is_whole(self, run_id: str) -> bool:
        run = self.stored[run_id]
        complete = run["params"] >= 4 and run["points"] == 20 and run["files"] == EVIDENCE
        return run["status"] == "FINISHED" and complete and run["failure"] is None


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a database of a real PostgreSQL server on this machine."""
    if (found := programs()) is None:
        pytest.skip("no PostgreSQL on this machine: initdb is missing")
    with postgres_server(found) as address:
        yield address


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    return Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("load") / project.name)))


@pytest.fixture(scope="module")
def crowds(
    postgres: str,
    server_python: Path,
    python: Path,
    workbench: Workbench,
    clean_env: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Crowds:
    folder = tmp_path_factory.mktemp("server")
    env = clean_env | {"PYTHONPATH": code_of(workbench.path)}
    files = folder / "files"
    of_server = {"MLFLOW_BACKEND_STORE_URI": postgres, "MLFLOW_ARTIFACTS_DESTINATION": files.as_uri()}
    command = [server_python.parent / "repro", "server", "run"]
    with TrackingServer(command, env | of_server, folder / "log") as server:
        ended = recorded(python, workbench, server, env)
    read = [server_python, SCRIPTS / "read_runs.py", postgres]
    done = subprocess.run(read, env=env, capture_output=True, text=True, check=True, timeout=600)
    stored = json.loads(done.stdout)
    for run in stored.values():
        evidence = files / run["artifact_uri"].removeprefix("mlflow-artifacts:/") / "reproducibility"
        run["files"] = sorted(path.name for path in evidence.glob("*"))
    return Crowds(ended, stored)


def recorded(python: Path, workbench: Workbench, server: TrackingServer, env: dict[str, str]) -> dict[str, list[dict]]:
    """Let the clients record, restart the server in the middle of the second crowd, and return `Crowds.ended`."""
    env = env | {"MLFLOW_TRACKING_URI": server.uri, "AUTHOR": "Ada <ada@example.com>"}
    env |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7", "PYTHONWARNINGS": "ignore"}
    ended = defaultdict(list)
    process = subprocess.Popen(
        [python, SCRIPTS / "gate_crowd.py", str(CLIENTS), str(RUNS), "undisturbed", "restarted"],
        env=env,
        cwd=workbench.path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stdout:
            run = json.loads(line)
            ended[run["crowd"]].append(run)
            if len(ended["restarted"]) == RUNS // 3:
                server.stop()
                server.start()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return ended


def test_of_many_at_once_the_complete_are_recorded_and_the_others_refused(crowds: Crowds) -> None:
    ended = crowds.ended["undisturbed"]
    assert len(ended) == RUNS
    complete = [run for run in ended if run["lacks"] is None]
    assert [run["error"] for run in complete if run["error"]] == []
    assert all(crowds.is_whole(run["id"]) for run in complete)
    lacking = [run for run in ended if run["lacks"] is not None]
    assert len(lacking) == (RUNS + 2) // 3
    assert len({run["lacks"] for run in lacking}) == 5
    assert all("reproducibility gate: this run" in run["error"] for run in lacking)
    # A run that is refused at its beginning is not stored. One that is refused at its end is FAILED, with the reason.
    refused = Counter(crowds.stored[run["id"]]["status"] if run["id"] else None for run in lacking)
    assert refused.keys() == {None, "FAILED"}
    assert all(crowds.stored[run["id"]]["failure"] for run in lacking if run["id"])
    stored = [run for run in crowds.stored.values() if run["name"].startswith("undisturbed ")]
    assert len(stored) == len(complete) + refused["FAILED"]


def test_a_restart_in_the_middle_loses_nothing_that_was_recorded(crowds: Crowds) -> None:
    ended = crowds.ended["restarted"]
    assert len(ended) == RUNS
    for run in ended:
        if run["lacks"] is None and run["error"] is None:
            assert crowds.is_whole(run["id"])
        elif run["lacks"] is None:
            # The server was down for longer than the client waited, or stopped between its work and its answer.
            assert "API request to" in run["error"] or "has ended FINISHED" in run["error"], run["error"]
        else:
            assert run["error"] is not None
    finished = [run_id for run_id, run in crowds.stored.items() if run["status"] == "FINISHED"]
    assert all(crowds.is_whole(run_id) for run_id in finished)
    succeeded = sum(run["lacks"] is None and run["error"] is None for run in ended)
    assert succeeded > RUNS // 2  # most clients did not even notice
