"""The gate is in force or the server does not start; with logins and workspaces, and on what it relies in MLflow."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from conftest import code_of
from mlflow_contract import METHODS, STORE
from mlflow_difference import differences
from tracking_server import TrackingServer
from workbench import SCRIPTS, Workbench

GATE = "reproducibility gate: "
API = "/api/2.0/mlflow"
REPRO = "from reproducibility.cli import main; main()"  # the command, where it is not installed
ADA, PASSWORD = "ada@example.com", "correct horse battery"
ADMIN, ADMINS_PASSWORD = "operator", "staple of the horse"


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    return Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("force") / project.name)))


@pytest.fixture
def environment(clean_env: dict[str, str], workbench: Workbench, tmp_path: Path) -> dict[str, str]:
    """The environment of a server: a database of its own, and the project's code."""
    return clean_env | {
        "PYTHONPATH": code_of(workbench.path),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path / 'server.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": (tmp_path / "files").as_uri(),
    }


@pytest.fixture
def serve(server_python: Path) -> list[str | Path]:
    return [server_python.parent / "repro", "server", "run"]


def worker(server_python: Path, environment: dict[str, str], app: str) -> tuple[list[str | Path], dict[str, str]]:
    """Return the command and the environment of a server's worker, as MLflow starts it: it opens the store."""
    command = [server_python, "-m", "uvicorn", *app.split(), "--host", "127.0.0.1"]
    return command, environment | {"_MLFLOW_SERVER_FILE_STORE": environment["MLFLOW_BACKEND_STORE_URI"]}


def install(folder: Path, group: str, name: str, target: str) -> Path:
    """Make *folder* look, on the path, like an installed package with one entry point."""
    package = folder / "intruder-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: intruder\nVersion: 1.0\n", "utf-8")
    (package / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n", "utf-8")
    return folder


def on_path(environment: dict[str, str], *folders: Path) -> dict[str, str]:
    """Return *environment* with *folders* at the beginning of Python's path."""
    return environment | {"PYTHONPATH": os.pathsep.join([*map(str, folders), environment["PYTHONPATH"]])}


def refused(command: list[str | Path], environment: dict[str, str], log: Path) -> tuple[int, str]:
    """Start a server that must end by itself; return its status and its output."""
    server = TrackingServer(command, environment, log)
    server.launch()
    return server.ended()


def test_without_the_policy_no_server_starts(serve, environment: dict[str, str], tmp_path: Path) -> None:
    env = environment | {"REPRODUCIBILITY_POLICY": str(tmp_path / "away" / "base.yaml")}
    status, output = refused(serve, env, tmp_path / "log")
    assert (status, "Traceback" in output) == (2, False)
    assert "base.yaml: there is no such file" in output


def test_without_a_project_no_server_starts_and_no_database_opens(
    bare_python: Path, environment: dict[str, str], workbench: Workbench, tmp_path: Path
) -> None:
    """The gate alone is installed: nothing says which policy holds."""
    code = Path(copytree(workbench.machinery, tmp_path / "alone" / "reproducibility")).parent
    gate = install(tmp_path / "gate", "mlflow.tracking_store", "sqlite", "reproducibility.gate.plugin:store")
    env = environment | {"PYTHONPATH": os.pathsep.join([str(code), str(gate)])}
    status, output = refused([bare_python, "-c", REPRO, "server", "run"], env, tmp_path / "log")
    assert (status, len(output.splitlines())) == (2, 1), output
    assert output.startswith("Error: project: ") and "configs/base.yaml" in output
    command = [bare_python, SCRIPTS / "open_database.py", environment["MLFLOW_BACKEND_STORE_URI"]]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=600)
    assert done.stdout.startswith("MlflowException project: ") and "configs/base.yaml" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert not (tmp_path / "server.db").exists()


def test_with_the_plugin_of_somebody_else_no_server_starts(
    server_python: Path, serve, environment: dict[str, str], tmp_path: Path
) -> None:
    intruder = install(tmp_path / "other", "mlflow.tracking_store", "sqlite", "intruder:store")
    (intruder / "intruder.py").write_text(
        "def store(store_uri, artifact_uri=None):\n"
        "    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore\n"
        "    return SqlAlchemyStore(store_uri, artifact_uri or './mlruns')\n",
        "utf-8",
    )
    status, output = refused(serve, on_path(environment, intruder), tmp_path / "log")
    assert (status, "Traceback" in output) == (2, False)
    assert "intruder:store" in output
    assert "the gate would not be in force" in output
    # MLflow takes the plugin that it finds last. The app checks which store it really has.
    last = tmp_path / "last"
    last.mkdir()
    (last / "sitecustomize.py").write_text(f"import sys; sys.path.append({str(intruder)!r})", "utf-8")
    command, env = worker(server_python, on_path(environment, last), "--factory reproducibility.gate.app:create_app")
    status, output = refused(command, env, tmp_path / "log2")
    assert (status, "Traceback" in output) == (2, False), output
    assert "the tracking store has no gate" in output


def test_without_the_plugin_no_server_starts(bare_python: Path, environment: dict[str, str], tmp_path: Path) -> None:
    status, output = refused([bare_python, "-c", REPRO, "server", "run"], environment, tmp_path / "log")
    assert (status, "Traceback" in output) == (2, False)
    assert "mlflow.tracking_store: MLflow finds nothing under 'sqlite'" in output
    assert "mlflow.app: MLflow finds nothing under 'reproducibility'" in output
    assert "only the part of it for clients is installed" in output


def test_with_a_gate_that_cannot_be_imported_no_server_starts(
    server_python: Path, serve, environment: dict[str, str], workbench: Workbench, tmp_path: Path
) -> None:
    broken = Workbench(lambda: None, Path(copytree(workbench.path, tmp_path / workbench.path.name)))
    rules = broken.machinery / "rules.py"
    rules.write_text("import nowhere\n" + rules.read_text("utf-8"), "utf-8")
    env = environment | {"PYTHONPATH": code_of(broken.path)}
    status, output = refused([*serve, "--embedded"], env, tmp_path / "log")
    assert (status, len(output.splitlines())) == (2, 1), output
    assert "gate: it cannot be loaded: No module named 'nowhere'" in output
    assert not broken.store.exists()
    mlflow = [server_python.parent / "mlflow", "server", "--workers", "1", "--app-name", "reproducibility"]
    status, output = refused(mlflow, env, tmp_path / "log2")
    assert status != 0
    assert "nowhere" in output


def test_another_app_is_refused_the_database(server_python: Path, environment: dict[str, str], tmp_path: Path) -> None:
    apps = [[], ["--app-name", "basic-auth"]]
    command = [server_python, SCRIPTS / "start_mlflow_servers.py", json.dumps(apps)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=600)
    ended = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    assert [options for options, _ in ended] == apps
    assert all(status != 0 for _, status in ended)
    assert done.stderr.count("start it with `repro server run`") >= len(apps)


def test_a_worker_of_another_server_gets_no_store(
    server_python: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """Who starts the workers by hand does not use MLflow's own command."""
    command, env = worker(server_python, environment, "mlflow.server.fastapi_app:app")
    with TrackingServer(command, env, tmp_path / "log") as server:
        status, text = server.ask(f"{API}/runs/create", {"experiment_id": "0"})
    assert status >= 400
    assert "start it with `repro server run`" in text


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("MLFLOW_BACKEND_STORE_URI", None, "it does not say which database"),
        ("MLFLOW_AUTH_CONFIG_PATH", "/nowhere/server.ini", "there is no file /nowhere/server.ini"),
    ],
)
def test_what_keeps_a_server_from_starting_is_one_message(
    variable: str, value: str | None, reason: str, serve, environment: dict[str, str], tmp_path: Path
) -> None:
    env = {key: text for key, text in (environment | {variable: value}).items() if text is not None}
    status, output = refused(serve, env, tmp_path / "log")
    assert (status, "Traceback" in output) == (2, False), output
    assert reason in output


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("127.0.0.1:1", "nothing answers there (connection refused)"),
        ("database.invalid", "its host name is unknown"),
        ("127.0.0.1:SILENT", "it does not answer in time"),
    ],
)
def test_a_server_whose_database_is_not_there_says_so_within_seconds(
    place: str, reason: str, serve, silent_port: int, environment: dict[str, str], tmp_path: Path
) -> None:
    place = place.replace("SILENT", str(silent_port))
    env = environment | {"MLFLOW_BACKEND_STORE_URI": f"postgresql://u:secret@{place}/x"}
    began = time.monotonic()
    status, output = refused(serve, env, tmp_path / "log")
    took = time.monotonic() - began
    assert (status, len(output.splitlines())) == (2, 1), output
    assert f"the tracking store postgresql://{place}/x cannot be used: {reason}. " in output
    assert "Start the database, or correct MLFLOW_BACKEND_STORE_URI" in output
    assert took < 30, output  # ten on an idle machine; MLflow alone would try for a hundred


def test_a_port_that_is_taken_is_one_line(serve, silent_port: int, environment: dict[str, str]) -> None:
    command = [*serve, "--port", str(silent_port)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 2
    assert f"127.0.0.1:{silent_port}: nothing can be served there" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_address_that_is_none_is_one_line(serve, environment: dict[str, str]) -> None:
    command = [*serve, "--port", "99999"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 2
    assert "127.0.0.1:99999: nothing can be served there: " in done.stderr
    assert "0-65535. To fix it: " in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.fixture
def with_logins(serve, environment: dict[str, str], tmp_path: Path) -> Iterator[TrackingServer]:
    config = tmp_path / "server.ini"
    config.write_text(
        f"[mlflow]\ndefault_permission = EDIT\ndatabase_uri = sqlite:///{tmp_path / 'logins.db'}\n"
        f"admin_username = {ADMIN}\nadmin_password = {ADMINS_PASSWORD}\n",
        "utf-8",
    )
    env = environment | {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "k" * 40}
    with TrackingServer(serve, env, tmp_path / "log") as server:
        yield server


def recorded_as(workbench: Workbench, server: TrackingServer, *authors: str, **env: str) -> dict[str, str | None]:
    """Record one run for each author; return {author: error, or None}."""
    done = workbench.script("record_as.py", *authors, env={"MLFLOW_TRACKING_URI": server.uri, **env}, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def statuses(server: TrackingServer, login: tuple[str, str] | None = None) -> list[str]:
    """Return the status of every run of the experiment of record_as.py."""
    name = "recorded%20as"
    _, text = server.ask(f"{API}/experiments/get-by-name?experiment_name={name}", method="GET", login=login)
    experiment = json.loads(text)["experiment"]["experiment_id"]
    _, text = server.ask(f"{API}/runs/search", {"experiment_ids": [experiment]}, login=login)
    return [run["info"]["status"] for run in json.loads(text)["runs"]]


def test_with_logins_the_author_is_who_is_logged_in(with_logins: TrackingServer, workbench: Workbench) -> None:
    server, ada = with_logins, (ADA, PASSWORD)
    user = {"username": ADA, "password": PASSWORD}
    assert server.ask(f"{API}/users/create", user, login=(ADMIN, ADMINS_PASSWORD))[0] == 200
    assert server.ask(f"{API}/runs/search", {"experiment_ids": ["0"]})[0] == 401
    assert server.ask(f"{API}/runs/create", {"experiment_id": "0"}, login=(ADA, "wrong password"))[0] == 401
    assert f"{GATE}this run" in server.ask(f"{API}/runs/create", {"experiment_id": "0"}, login=ada)[1]
    logged_in = {"MLFLOW_TRACKING_USERNAME": ADA, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    own = (ADA, f"Ada Lovelace <{ADA}>")
    others = ("Eve <eve@example.com>", f"<{ADA}> Eve", ADA[:-1])
    errors = recorded_as(workbench, server, *own, *others, **logged_in)
    assert [errors[author] for author in own] == [None, None]
    for author in others:
        assert f"but '{ADA}' is logged in" in errors[author]
        assert f"set AUTHOR to '{ADA}'" in errors[author]
    assert statuses(server, ada) == ["FINISHED", "FINISHED"]


def test_with_workspaces_the_gate_is_there_too(
    serve, environment: dict[str, str], workbench: Workbench, tmp_path: Path
) -> None:
    env = environment | {"MLFLOW_ENABLE_WORKSPACES": "true"}
    with TrackingServer(serve, env, tmp_path / "log") as server:
        status, text = server.ask(f"{API}/runs/create", {"experiment_id": "0"})
        assert (status, f"{GATE}this run" in text) == (400, True), text
        assert recorded_as(workbench, server, "Ada <ada@example.com>") == {"Ada <ada@example.com>": None}
        assert statuses(server) == ["FINISHED"]


def test_what_the_gate_relies_on_is_there_in_the_pinned_mlflow(
    server_python: Path, environment: dict[str, str], workbench: Workbench
) -> None:
    assert list(differences(server_python)) == []
    command = [server_python, SCRIPTS / "gate_contract.py", json.dumps(list(METHODS[STORE]))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["overridden for workspaces"] == ["create_experiment"]  # which MLflow calls after the gate's
    gate = "".join(path.read_text("utf-8") for path in (workbench.machinery / "gate").glob("*.py"))
    assert all(variable in gate for variable in found["variables"])
    assert found["gate comes first"] == [True, True]
