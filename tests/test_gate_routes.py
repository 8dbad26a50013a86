"""Every route of MLflow's server has a class, and what is not needed to track answers 404 until the policy turns it on.

mlflow_routes.txt has a line for each route, CLASS METHOD PATH; /api/ stands for /ajax-api/ too:

guarded   writes to runs, their files and models, or to aliases: the gate checks it
reads     changes nothing
outside   writes what no run and no alias rests on: traces, notes, names of models, logins
off       a feature of gate/features.py: starts programs, calls other servers, or is of no use to track
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from conftest import code_of
from mlflow_difference import classes, routes
from tracking_server import TrackingServer
from workbench import SCRIPTS, Workbench

CLASSES = ("guarded", "reads", "outside", "off")
TABLE = classes()


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    return Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("routes") / project.name)))


@pytest.fixture(scope="module")
def environment(clean_env: dict[str, str], workbench: Workbench) -> dict[str, str]:
    return clean_env | {"PYTHONPATH": code_of(workbench.path)}


@pytest.fixture(scope="module")
def embedded(server_python: Path) -> list[str | Path]:
    """The command with which `nox -s ui` and `nox -s server -- --embedded` serve."""
    return [server_python.parent / "repro", "server", "run", "--embedded"]


@pytest.fixture(scope="module")
def server(
    embedded: list[str | Path], environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TrackingServer]:
    with TrackingServer(embedded, environment, tmp_path_factory.mktemp("server") / "log") as server:
        yield server


def filled(path: str) -> str:
    """Return *path* with a value for each of its parameters."""
    return re.sub(r"[<{].*?[>}]", "1", path)


def test_every_route_of_the_pinned_mlflow_has_a_class(server_python: Path) -> None:
    assert {(method, path) for _, method, path in TABLE} == routes(server_python)
    assert len(TABLE) == len({(method, path) for _, method, path in TABLE})
    assert {kind for kind, _, _ in TABLE} == set(CLASSES)


@pytest.mark.parametrize("api", ["api", "ajax-api"])
def test_what_is_not_needed_to_track_is_not_there(api: str, server: TrackingServer) -> None:
    for kind, method, path in TABLE:
        place = filled(path).replace("/api/", f"/{api}/")
        # OPTIONS changes nothing, and MLflow has an answer other than this one for each of its paths.
        for way in (method, "OPTIONS") if kind == "off" else ("OPTIONS",):
            answer = server.ask(place, {}, way)
            assert (answer == (404, "Not Found")) == (kind == "off"), (way, place, answer)


def test_a_slash_or_a_letter_does_not_bring_back_what_is_off(server: TrackingServer) -> None:
    for path in ("/ajax-api/3.0/mlflow/assistant", "/ajax-api/3.0/mlflow/%61ssistant/config", "//gateway/x/"):
        assert server.ask(path, method="GET")[0] == 404, path


def test_the_policy_turns_a_feature_on(
    embedded: list[str | Path], environment: dict[str, str], workbench: Workbench, tmp_path: Path
) -> None:
    text = (workbench.path / "configs" / "base.yaml").read_text("utf-8")
    policy = tmp_path / "base.yaml"
    policy.write_text(text.replace("server_features: []", "server_features: [gateway, mcp]"), "utf-8")
    env = environment | {"REPRODUCIBILITY_POLICY": str(policy)}
    without_key = TrackingServer(embedded, env, tmp_path / "without key")
    without_key.launch()
    status, output = without_key.ended()
    assert (status, "Traceback" in output) == (2, False)
    assert "MLFLOW_CRYPTO_KEK_PASSPHRASE: the gateway would encrypt" in output
    env |= {"MLFLOW_CRYPTO_KEK_PASSPHRASE": "a long random text"}
    with TrackingServer(embedded, env, tmp_path / "log") as server:
        assert json.loads(server.ask("/ajax-api/3.0/mlflow/mcp-servers", method="GET")[1])["mcp_servers"] == []
        assert server.ask("/ajax-api/3.0/mlflow/gateway/endpoints/list", method="GET")[0] == 200
        assert server.ask("/ajax-api/3.0/mlflow/assistant/config", method="GET") == (404, "Not Found")


def test_the_page_of_the_newest_run_is_opened_whatever_keeps_the_runs(
    server_python: Path, environment: dict[str, str], workbench: Workbench, tmp_path: Path
) -> None:
    done = workbench.run("repro", "train", "--set", "model.n_estimators=5")
    assert done.returncode == 0, done.stderr
    (run,) = [run for run in workbench.every_run() if run.status == "FINISHED"]
    opened = tmp_path / "opened"
    browser = {"BROWSER": f"{SCRIPTS / 'browser.sh'} %s", "OPENED": str(opened)}
    command = [server_python.parent / "repro", "ui"]
    with TrackingServer(command, environment | browser, tmp_path / "log") as server:
        opened_here = wait_for_line(opened)
        log = (tmp_path / "log").read_text("utf-8")
        # Then for a server that runs already, which is not started again.
        elsewhere = workbench.run("repro", "ui", env={"MLFLOW_TRACKING_URI": server.uri})
    assert opened_here.startswith(f"{server.uri}/#/experiments/") and opened_here.endswith(f"/runs/{run.id}")
    assert f"your newest run: {opened_here}" in log
    assert "GET /health" not in log  # no line for each request
    assert (elsewhere.returncode, elsewhere.stdout.strip()) == (0, f"your newest run: {opened_here}")


def wait_for_line(file: Path) -> str:
    until = time.monotonic() + 300
    while not (file.exists() and file.read_text("utf-8").endswith("\n")):
        assert time.monotonic() < until, f"nothing opened a page: {file} is not there"
        time.sleep(0.1)
    return file.read_text("utf-8").strip()


def test_a_feature_that_does_not_exist_is_refused(workbench: Workbench, tmp_path: Path) -> None:
    base = workbench.path / "configs" / "base.yaml"
    text = base.read_text("utf-8")
    base.write_text(text.replace("server_features: []", "server_features: [asistant]"), "utf-8")
    try:
        done = workbench.run(
            "repro", "server", "run", env={"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path / 'x.db'}"}
        )
    finally:
        base.write_text(text, "utf-8")
    assert done.returncode == 2
    assert "policy.server_features" in done.stderr and "assistant" in done.stderr


def test_a_page_of_another_site_cannot_pass_for_this_machine(server: TrackingServer) -> None:
    """A name that somebody else owns may lead to this machine (DNS rebinding)."""
    for host, status in {
        **dict.fromkeys(["localhost", "127.0.0.1", "[::1]"], 200),
        **dict.fromkeys(["10.evil.example", "192.168.evil.example", "evil.example", "localhost.evil.example"], 403),
    }.items():
        for name in (host, f"{host}:{server.port}"):
            answer = server.ask("/ajax-api/2.0/mlflow/experiments/search?max_results=1", method="GET", host=name)
            assert answer[0] == status, (name, answer)
