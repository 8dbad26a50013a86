"""What a run and its validation cost: programs that are started, requests that a server gets. No times."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from conftest import code_of
from tracking_server import TrackingServer
from workbench import Workbench, store_at

REQUEST = re.compile(r'"[A-Z]+ /api/[\d.]+/(\S+?)(?:\?\S*)? HTTP')
EVIDENCE = ("manifest.json", "config.yaml", "requirements.txt")


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    return Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("costs") / project.name)))


def programs(workbench: Workbench) -> Counter[str]:
    """The programs that the second run of a process starts, and how often."""
    done = workbench.script("count_programs.py")
    assert done.returncode == 0, done.stderr
    return Counter(json.loads(done.stdout.splitlines()[-1]))


def test_a_run_starts_git_five_times_and_no_other_program(workbench: Workbench) -> None:
    assert programs(workbench) == {"git": 5}


def test_a_change_costs_five_programs_more(workbench: Workbench) -> None:
    workbench.edit("scripts/train.py", '"""', '"""Changed. ')
    try:
        assert programs(workbench) == {"git": 10}
    finally:
        workbench.git("checkout", "--quiet", ".")


def test_the_validation_of_a_run_asks_a_server_for_each_thing_once(
    workbench: Workbench, server_python: Path, clean_env: dict[str, str], tmp_path: Path
) -> None:
    env = clean_env | {"PYTHONPATH": code_of(workbench.path), "MLFLOW_ARTIFACTS_DESTINATION": tmp_path.as_uri()}
    env["MLFLOW_BACKEND_STORE_URI"] = store_at(tmp_path / "server.db")["MLFLOW_TRACKING_URI"]
    log = tmp_path / "log"
    with TrackingServer([server_python.parent / "repro", "server", "run"], env, log) as server:
        store = {"MLFLOW_TRACKING_URI": server.uri}
        done = workbench.script("count_programs.py", env=store)
        assert done.returncode == 0, done.stderr
        before = log.stat().st_size
        run, *_ = workbench.every_run(tmp_path / "server.db")
        done = workbench.run("repro", "validate", run.id, "--json", env=store)
        assert json.loads(done.stdout)["checks"], done.stderr
    asked = Counter(path.replace(run.id, "RUN") for path in REQUEST.findall(log.read_bytes()[before:].decode()))
    files = {f"mlflow-artifacts/artifacts/1/RUN/artifacts/reproducibility/{name}": 1 for name in EVIDENCE}
    assert asked == {"mlflow/runs/get": 1, "mlflow/experiments/get": 1, "mlflow-artifacts/artifacts": 1} | files
