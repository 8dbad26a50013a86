"""The gate is in force or the server does not start; with logins and workspaces, and on what it relies in MLflow."""

import base64
import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess
from urllib.error import HTTPError

import pytest
from tracking_server import TrackingServer
from workbench import Workbench

ADA, PASSWORD = "ada@example.com", "correct horse battery"
ADMIN, ADMINS_PASSWORD = "operator", "staple of the horse"
# What the gate relies on in MLflow: a new version that changes one of these is to be looked at before it is pinned.
RELIED_ON = {
    "__init__": ["self", "db_uri", "default_artifact_root", "read_db_uri"],
    "create_experiment": ["self", "name", "artifact_location", "tags"],
    "create_run": ["self", "experiment_id", "user_id", "start_time", "tags", "run_name"],
    "update_run_info": ["self", "run_id", "run_status", "end_time", "run_name"],
    "log_batch": ["self", "run_id", "metrics", "params", "tags"],
    "set_tag": ["self", "run_id", "tag"],
    "_set_tags": ["self", "run_id", "tags"],
    "delete_tag": ["self", "run_id", "key"],
    "create_logged_model": ["self", "experiment_id", "name", "source_run_id", "tags", "params", "model_type"],
    "log_logged_model_params": ["self", "model_id", "params"],
    "finalize_logged_model": ["self", "model_id", "status"],
    "_check_run_is_active": ["self", "run"],
    "_get_run": ["self", "session", "run_uuid", "eager"],
}
# Every way to write to a run asks `_check_run_is_active` first.
ASKING = (
    *("update_run_info", "log_metric", "_log_metrics_once", "log_param", "_log_params", "set_tag", "_set_tags"),
    *("delete_tag", "log_batch", "record_logged_model", "log_inputs", "log_outputs"),
)
CONTRACT = """
import inspect, json
from mlflow.server import constants, handlers
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.tracking.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore
from reproducibility import gated_store
handlers._get_proxied_run_artifact_destination_path, handlers._get_artifact_repo_mlflow_artifacts
handlers._get_workspace_scoped_repo_path_if_enabled, handlers._get_tracking_store
print(json.dumps({
    "signatures": {name: list(inspect.signature(getattr(SqlAlchemyStore, name)).parameters) for name in RELIED_ON},
    "asking": [name for name in ASKING if "_check_run_is_active" in inspect.getsource(getattr(SqlAlchemyStore, name))],
    "overridden there": sorted(RELIED_ON & vars(WorkspaceAwareSqlAlchemyStore).keys() - {"__init__"}),
    "variables": [constants.BACKEND_STORE_URI_ENV_VAR, constants.ARTIFACT_ROOT_ENV_VAR,
                  constants.READ_REPLICA_BACKEND_STORE_URI_ENV_VAR],
    "gated": [gated_store.Gated is kind.__mro__[1] for kind in gated_store.Gated.__subclasses__()],
}))
"""
START = """
import mlflow
from reproducibility import tracked_run
with tracked_run({"experiment_name": "logins", "seed": 1, "data": {"path": "data/penguins.csv"}}):
    mlflow.log_metric("a", 1.0)
"""


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    return Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("force") / project.name)))


@pytest.fixture
def environment(clean_env: dict[str, str], workbench: Workbench, tmp_path: Path) -> dict[str, str]:
    """A server's: its own database, and the project's code."""
    return clean_env | {
        "PYTHONPATH": str(workbench.path / "src"),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path / 'server.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": (tmp_path / "files").as_uri(),
    }


def plugin(folder: Path, group: str, name: str, target: str) -> str:
    """Make a folder that, on the path, looks like an installed package with one entry point."""
    package = folder / "intruder-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: intruder\nVersion: 1.0\n", "utf-8")
    (package / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n", "utf-8")
    (folder / "intruder.py").write_text(
        "def store(store_uri, artifact_uri=None):\n"
        "    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore\n"
        "    return SqlAlchemyStore(store_uri, artifact_uri or './mlruns')\n",
        "utf-8",
    )
    return str(folder)


def on_path(environment: dict[str, str], folder: str) -> dict[str, str]:
    return environment | {"PYTHONPATH": os.pathsep.join([folder, environment["PYTHONPATH"]])}


def refused(command: list[str | Path], environment: dict[str, str], log: Path) -> tuple[int, str]:
    """Start a server that must end by itself; return its status and what it said."""
    server = TrackingServer(command, environment, log)
    server.launch()
    return server.ended()


def test_without_the_policy_no_server_starts(server_python: Path, environment: dict[str, str], tmp_path: Path) -> None:
    env = environment | {"REPRODUCIBILITY_POLICY": str(tmp_path / "away" / "base.yaml")}
    status, said = refused([server_python.parent / "repro", "server", "run"], env, tmp_path / "log")
    assert (status, "Traceback" in said) == (2, False)
    assert "base.yaml: there is no such file" in said


def test_with_the_plugin_of_somebody_else_no_server_starts(
    server_python: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    env = on_path(environment, plugin(tmp_path / "other", "mlflow.tracking_store", "sqlite", "intruder:store"))
    status, said = refused([server_python.parent / "repro", "server", "run"], env, tmp_path / "log")
    assert (status, "Traceback" in said) == (2, False)
    assert "intruder:store" in said
    assert "the gate would not be in force" in said
    # MLflow takes the one that it finds last: the app looks at what it really got.
    last = tmp_path / "last"
    last.mkdir()
    (last / "sitecustomize.py").write_text(f"import sys; sys.path.append({str(tmp_path / 'other')!r})", "utf-8")
    env = on_path(environment, str(last))
    _, said = refused(
        [server_python.parent / "mlflow", "server", "--workers", "1", "--app-name", "reproducibility"],
        env,
        tmp_path / "log2",
    )
    assert "the tracking store has no gate" in said


def test_without_the_plugin_no_server_starts(
    bare_python: Path, environment: dict[str, str], tmp_path: Path, workbench: Workbench
) -> None:
    start = f"from {workbench.package}.reproducibility.cli import main; main()"
    status, said = refused([bare_python, "-c", start, "serve"], environment, tmp_path / "log")
    assert (status, "Traceback" in said) == (2, False)
    assert "mlflow.tracking_store: MLflow finds nothing under 'sqlite'" in said
    assert "mlflow.app: MLflow finds nothing under 'reproducibility'" in said
    assert "only the part of it for clients is installed" in said


def test_with_a_gate_that_cannot_be_imported_no_server_starts(
    server_python: Path, environment: dict[str, str], workbench: Workbench, tmp_path: Path
) -> None:
    broken = Path(copytree(workbench.path, tmp_path / workbench.path.name))
    judgement = broken / "src" / workbench.package / "reproducibility" / "judgement.py"
    judgement.write_text("import nowhere\n" + judgement.read_text("utf-8"), "utf-8")
    env = environment | {"PYTHONPATH": str(broken / "src")}
    status, said = refused([server_python.parent / "repro", "server", "run"], env, tmp_path / "log")
    assert status != 0
    assert "nowhere" in said
    status, said = refused(
        [server_python.parent / "mlflow", "server", "--workers", "1", "--app-name", "reproducibility"],
        env,
        tmp_path / "log2",
    )
    assert status != 0


@pytest.mark.parametrize("app", [(), ("--app-name", "basic-auth")])
def test_another_app_is_refused_the_database(
    app: tuple[str, ...], server_python: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    status, said = refused([server_python.parent / "mlflow", "server", *app], environment, tmp_path / "log")
    assert status != 0
    assert "start it with `repro server run`" in said


def test_a_worker_of_another_server_gets_no_store(
    server_python: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """Whoever starts the workers by hand passes MLflow's own command by."""
    env = environment | {"_MLFLOW_SERVER_FILE_STORE": environment["MLFLOW_BACKEND_STORE_URI"]}
    command = [server_python, "-m", "uvicorn", "mlflow.server.fastapi_app:app", "--host", "127.0.0.1"]
    with TrackingServer(command, env, tmp_path / "log") as server:
        status, said = ask(server, "runs/create", {"experiment_id": "0"})
    assert status >= 400
    assert "start it with `repro server run`" in said


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("MLFLOW_BACKEND_STORE_URI", None, "it does not say which database"),
        ("MLFLOW_AUTH_CONFIG_PATH", "/nowhere/server.ini", "there is no file /nowhere/server.ini"),
        ("MLFLOW_BACKEND_STORE_URI", "postgresql://u:secret@127.0.0.1:1/x", "nothing answers there"),
    ],
)
def test_what_keeps_a_server_from_starting_is_one_line(
    variable: str, value: str | None, reason: str, server_python: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    env = {key: text for key, text in (environment | {variable: value}).items() if text is not None}
    status, said = refused([server_python.parent / "repro", "server", "run"], env, tmp_path / "log")
    assert (status, "Traceback" in said) == (2, False), said
    assert reason in said.replace("connection refused", "nothing answers there")
    assert "secret" not in said


def test_a_port_that_is_taken_is_one_line(server_python: Path, environment: dict[str, str], tmp_path: Path) -> None:
    with TrackingServer([server_python.parent / "repro", "server", "run"], environment, tmp_path / "log") as server:
        second = [server_python.parent / "repro", "server", "run", "--port", str(server.port)]
        done = subprocess.run(second, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert f"127.0.0.1:{server.port}: nothing can be served there" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_none_is_one_line(server_python: Path, environment: dict[str, str]) -> None:
    command = [server_python.parent / "repro", "server", "run", "--port", "99999"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "127.0.0.1:99999: nothing can be served there: " in done.stderr
    assert "0-65535. To fix it: " in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def ask(
    server: TrackingServer, path: str, body: object, login: tuple[str, str] | None = None, **headers: str
) -> tuple[int, str]:
    request = urllib.request.Request(  # noqa: S310
        f"{server.uri}/api/2.0/mlflow/{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}},
    )
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def with_logins(server_python: Path, environment: dict[str, str], tmp_path: Path) -> Iterator[TrackingServer]:
    config = tmp_path / "server.ini"
    config.write_text(
        f"[mlflow]\ndefault_permission = EDIT\ndatabase_uri = sqlite:///{tmp_path / 'logins.db'}\n"
        f"admin_username = {ADMIN}\nadmin_password = {ADMINS_PASSWORD}\n",
        "utf-8",
    )
    env = environment | {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "k" * 40}
    with TrackingServer([server_python.parent / "repro", "server", "run"], env, tmp_path / "log") as server:
        yield server


def test_with_logins_the_author_is_who_is_logged_in(with_logins: TrackingServer, workbench: Workbench) -> None:
    server, admin = with_logins, (ADMIN, ADMINS_PASSWORD)
    assert ask(server, "users/create", {"username": ADA, "password": PASSWORD}, admin)[0] == 200
    assert ask(server, "runs/search", {"experiment_ids": ["0"]})[0] == 401
    assert ask(server, "runs/create", {"experiment_id": "0"}, (ADA, "wrong password"))[0] == 401
    assert "this run could not be reproduced" in ask(server, "runs/create", {"experiment_id": "0"}, (ADA, PASSWORD))[1]

    def train(author: str) -> CompletedProcess[str]:
        login = {"MLFLOW_TRACKING_USERNAME": ADA, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        return workbench.python(START, env={"MLFLOW_TRACKING_URI": server.uri, "AUTHOR": author, **login})

    for name in (ADA, f"Ada Lovelace <{ADA}>"):
        done = train(name)
        assert done.returncode == 0, done.stderr
    for name in ("Eve <eve@example.com>", f"<{ADA}> Eve", f"{ADA} "[:-2]):
        done = train(name)
        assert done.returncode == 1
        assert f"but '{ADA}' is logged in" in done.stderr
        assert f"set AUTHOR to '{ADA}'" in done.stderr
    _, found = ask(server, "runs/search", {"experiment_ids": ["1"]}, (ADA, PASSWORD))
    assert [run["info"]["status"] for run in json.loads(found)["runs"]] == ["FINISHED", "FINISHED"]


def test_with_workspaces_the_gate_is_there_too(
    server_python: Path, environment: dict[str, str], workbench: Workbench, tmp_path: Path
) -> None:
    env = environment | {"MLFLOW_ENABLE_WORKSPACES": "true"}
    with TrackingServer([server_python.parent / "repro", "server", "run"], env, tmp_path / "log") as server:
        status, said = ask(server, "runs/create", {"experiment_id": "0"})
        assert (status, "this run could not be reproduced" in said) == (400, True), said
        done = workbench.python(START, env={"MLFLOW_TRACKING_URI": server.uri})
        assert done.returncode == 0, done.stderr
        experiment = json.loads(ask(server, "experiments/search", {"max_results": 9})[1])["experiments"][0][
            "experiment_id"
        ]
        _, found = ask(server, "runs/search", {"experiment_ids": [experiment]})
        assert [run["info"]["status"] for run in json.loads(found)["runs"]] == ["FINISHED"]


def test_what_the_gate_relies_on_is_there_in_the_pinned_mlflow(
    server_python: Path, environment: dict[str, str], workbench: Workbench
) -> None:
    names = f"RELIED_ON = {set(RELIED_ON)!r}\nASKING = {ASKING!r}\n"
    code = names + CONTRACT.replace("PACKAGE", workbench.package)
    done = subprocess.run(
        [server_python, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["signatures"] == RELIED_ON
    assert found["asking"] == list(ASKING)
    assert found["overridden there"] == ["create_experiment"]  # whose own comes after the gate's
    gate = (workbench.machinery / "gate.py").read_text("utf-8") + (workbench.machinery / "gated_store.py").read_text(
        "utf-8"
    )
    assert all(variable in gate for variable in found["variables"])
    assert found["gated"] == [True, True]
