"""Many clients at once before the gate, on PostgreSQL: the good come through whole, the others not at all."""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from postgres_server import postgres_server, programs
from tracking_server import TrackingServer
from workbench import Workbench

CLIENTS, RUNS = 16, 200
# Every third run lacks something. Each tells how it ended for its client, one line of JSON for each.
CROWD = """
import json, os, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from reproducibility.provenance.gather import gather

provenance = gather({"experiment_name": "crowd", "seed": 1, "data": {"path": "data/penguins.csv"}})
assert not provenance.refusals
folder = Path(tempfile.mkdtemp())
for name, content in provenance.evidence.items(): (folder / name).write_bytes(content)
altered = Path(tempfile.mkdtemp())
for name, content in provenance.evidence.items(): (altered / name).write_bytes(content.replace(b"crowd", b"clown"))
LACKING = ("everything", "author", "params", "evidence", "its own manifest")
saying = Lock()

def record(number):
    client = MlflowClient()
    lacks = LACKING[number // 3 % len(LACKING)] if number % 3 == 0 else None
    tags = {} if lacks == "everything" else dict(provenance.tags)
    if lacks == "author": tags["author"] = ""
    said = {"number": number, "lacks": lacks, "id": None, "error": None}
    try:
        run_id = said["id"] = client.create_run(sys.argv[1], tags=tags, run_name=f"{sys.argv[2]} {number}").info.run_id
        if lacks != "params":
            client.log_batch(run_id, params=[Param(key, value) for key, value in provenance.params.items()])
        if lacks != "evidence":
            client.log_artifacts(run_id, str(altered if lacks == "its own manifest" else folder), "reproducibility")
        now = int(time.time() * 1000)
        client.log_batch(run_id, [Metric(f"m{key}", step + number, now, step) for key in range(5) for step in range(4)])
        client.set_terminated(run_id)
    except Exception as error:
        said["error"] = str(error)
    with saying: print(json.dumps(said), flush=True)

with ThreadPoolExecutor(CLIENTS) as crowd: list(crowd.map(record, range(RUNS)))
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a database of a real PostgreSQL server on this machine."""
    if (found := programs()) is None:
        pytest.skip("no PostgreSQL on this machine: initdb is not there")
    with postgres_server(found) as address:
        yield address


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    workbench = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("load") / project.name)))
    workbench.write("scripts/crowd.py", CROWD.replace("CLIENTS", str(CLIENTS)).replace("RUNS", str(RUNS)))
    workbench.commit()
    return workbench


@pytest.fixture(scope="module")
def server(
    postgres: str, server_python: Path, workbench: Workbench, clean_env: dict[str, str], tmp_path_factory
) -> Iterator[TrackingServer]:
    folder = tmp_path_factory.mktemp("server")
    env = clean_env | {
        "PYTHONPATH": str(workbench.path / "src"),
        "MLFLOW_BACKEND_STORE_URI": postgres,
        "MLFLOW_ARTIFACTS_DESTINATION": (folder / "files").as_uri(),
    }
    with TrackingServer([server_python.parent / "repro", "server", "run"], env, folder / "log") as server:
        yield server


LOOK = """
import json, sys, mlflow
client = mlflow.MlflowClient()
found, token = {}, None
while True:
    named = f"attributes.run_name LIKE '{sys.argv[2]} %'"
    page = client.search_runs([sys.argv[1]], named, max_results=500, page_token=token)
    for run in page:
        # Looked at closer only if it claims to be whole: the rest has nothing to lose.
        whole = run.info.status == "FINISHED"
        points = sum(len(client.get_metric_history(run.info.run_id, f"m{key}")) for key in range(5)) if whole else None
        listed = client.list_artifacts(run.info.run_id, "reproducibility") if whole else []
        files = sorted(file.path for file in listed)
        found[run.info.run_id] = [run.info.status, len(run.data.params), points, files, run.data.tags.get("failure")]
    token = page.token
    if not token: break
print(json.dumps(found))
"""
WHOLE = ["reproducibility/config.yaml", "reproducibility/manifest.json", "reproducibility/requirements.txt"]


def crowd(workbench: Workbench, server: TrackingServer, name: str, restart_after: int | None) -> tuple[list, dict]:
    """Let the crowd in; return what each client was told, and what the server has afterwards."""
    env = {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7", "PYTHONWARNINGS": "ignore"}
    ask = "import mlflow, sys; print(mlflow.MlflowClient().create_experiment(sys.argv[1]))"
    experiment = workbench.python(ask, name, env=env, check=True).stdout.split()[-1]
    path = os.pathsep.join([str(workbench.path / "src")])
    told = []
    python = workbench.run("python", "-c", "import sys; print(sys.executable)", check=True).stdout.strip()
    process = subprocess.Popen(
        [python, "scripts/crowd.py", experiment, name],
        env=server.env | env | {"PYTHONPATH": path, "AUTHOR": "Ada <ada@example.com>"},
        cwd=workbench.path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stdout:
            told.append(json.loads(line))
            if len(told) == restart_after:
                server.stop()
                server.start()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    look = workbench.python(LOOK, experiment, name, env=env, check=True)
    return told, json.loads(look.stdout.splitlines()[-1])


def whole(run: list) -> bool:
    status, params, points, files, failure = run
    return status == "FINISHED" and params >= 4 and points == 20 and files == WHOLE and failure is None


def test_of_many_at_once_the_good_are_whole_and_the_others_refused(
    workbench: Workbench, server: TrackingServer
) -> None:
    told, found = crowd(workbench, server, "calm", restart_after=None)
    assert len(told) == RUNS
    good = [run for run in told if run["lacks"] is None]
    assert [run["error"] for run in good if run["error"]] == []
    assert all(whole(found[run["id"]]) for run in good)
    bad = [run for run in told if run["lacks"] is not None]
    assert len(bad) == (RUNS + 2) // 3
    assert all("reproducibility gate: this run" in run["error"] for run in bad)
    # Refused at its beginning a run is not there; refused at its end it is there, failed, with the reason.
    refused = Counter(found[run["id"]][0] if run["id"] else None for run in bad)
    assert refused.keys() == {None, "FAILED"}
    assert all(found[run["id"]][4] for run in bad if run["id"])
    assert len(found) == len(good) + refused["FAILED"]


def test_a_restart_in_the_middle_loses_nothing_that_was_recorded(workbench: Workbench, server: TrackingServer) -> None:
    told, found = crowd(workbench, server, "restarted", restart_after=RUNS // 3)
    assert len(told) == RUNS
    for run in told:
        if run["lacks"] is None and run["error"] is None:
            assert whole(found[run["id"]])
        elif run["lacks"] is None:
            # The server went away for longer than the client waited, or at the wrong moment: it is told so.
            assert "API request to" in run["error"] or "has ended FINISHED" in run["error"], run["error"]
        else:
            assert run["error"] is not None
    assert all(whole(run) for run in found.values() if run[0] == "FINISHED")
    succeeded = sum(run["lacks"] is None and run["error"] is None for run in told)
    assert succeeded > RUNS // 2  # most did not even notice
