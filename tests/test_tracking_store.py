"""The tracking store: away, broken or new. What cannot be recorded is said in one line, soon, without a password."""

import json
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree, rmtree
from subprocess import CompletedProcess
from threading import Thread

import pytest
from workbench import INSIDE, Workbench, store_at

SCRIPT = f"""
import sys
import click
from reproducibility import tracked_run

VALUES = {{"experiment_name": "stored", "seed": 1, "data": {{"path": "data/penguins.csv"}}}}

@click.command()
@click.argument("name", default="run")
@click.argument("inside", default="pass")
def main(name, inside):
    with tracked_run(VALUES, run_name=name):
        print({INSIDE!r})
        exec(inside)

main()
"""
# A guard against hanging, far beyond the seconds that each of these takes.
HANGING = 60


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    """A project with a script that records one run; each test brings a store of its own."""
    workbench = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("store") / project.name)))
    workbench.write("scripts/record.py", SCRIPT)
    workbench.commit()
    return workbench


def unusable(workbench: Workbench, uri: str, status: int = 2, computed: bool = False, inside: str = "pass") -> str:
    """Try to record a run at *uri*, see that it ends with one line, and return that line."""
    env = {"MLFLOW_TRACKING_URI": uri}
    done = workbench.run("python", "scripts/record.py", "run", inside, env=env, timeout=HANGING)
    assert done.returncode == status, done.stderr
    assert (INSIDE in done.stdout) == computed
    assert computed or "Traceback" not in done.stderr  # during a run MLflow logs what happens to its database
    assert "secret" not in done.stdout + done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("Error: the tracking store ")
    return line


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def answering(status: int, body: bytes = b"", **headers: str) -> type[BaseHTTPRequestHandler]:
    """A server that gives everybody the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return Handler


# --- a server that is away


def test_a_server_that_is_down_is_named_without_its_password(workbench: Workbench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = unusable(workbench, f"http://ada:secret@127.0.0.1:{port}")
    assert f"http://127.0.0.1:{port} cannot be used" in said
    assert "Start the server" in said


def test_a_host_that_nobody_knows_is_named(workbench: Workbench) -> None:
    assert "https://no-such-host.invalid cannot be used" in unusable(
        workbench, "https://ada:secret@no-such-host.invalid"
    )


def test_a_server_that_never_answers_is_given_up(workbench: Workbench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert f"{uri} cannot be used" in unusable(workbench, uri)


@pytest.mark.parametrize(
    "handler",
    [
        answering(500, b"oh no"),
        answering(503, b"", Retry_After="3600"),
        answering(429, b"", Retry_After="3600"),
        answering(200, b"<html>Welcome to the intranet</html>"),
        answering(200, b"[1, 2]"),
        answering(401, b"who are you?"),
        answering(404, b"nothing here"),
    ],
    ids=["error", "busy for an hour", "too many", "a page", "a list", "unauthorized", "not MLflow"],
)
def test_a_server_that_answers_otherwise_is_given_up(
    workbench: Workbench, handler: type[BaseHTTPRequestHandler]
) -> None:
    with serving(handler) as server:
        assert f"http://127.0.0.1:{server.server_port} cannot be used" in unusable(
            workbench, f"http://ada:secret@127.0.0.1:{server.server_port}"
        )


class DyingServer(BaseHTTPRequestHandler):
    """As much of a tracking server as one run needs to begin, with a way to switch it off."""

    asked: list[tuple[str, dict]]
    artifacts: str

    def do_GET(self) -> None:
        self._answer({"experiment": {"experiment_id": "1", "name": "stored", "lifecycle_stage": "active"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        self.asked.append((self.path.rpartition("mlflow/")[2], body))
        if self.path.endswith("die"):
            # closed before the answer: whoever asks afterwards finds nobody
            self.server.socket.close()
            Thread(target=self.server.shutdown).start()
        info = {"run_id": "a" * 32, "run_uuid": "a" * 32, "experiment_id": "1", "status": "RUNNING", "start_time": 1}
        info |= {"lifecycle_stage": "active", "artifact_uri": self.artifacts, "run_name": "run"}
        self._answer({"run": {"info": info, "data": {"tags": body.get("tags", [])}}} if "create" in self.path else {})

    def _answer(self, said: dict) -> None:
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_dies_during_the_run_is_named_and_the_start_was_two_requests(
    workbench: Workbench, tmp_path: Path
) -> None:
    DyingServer.asked, DyingServer.artifacts = [], tmp_path.as_uri()
    with ThreadingHTTPServer(("127.0.0.1", 0), DyingServer) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        port = server.server_port
        uri = f"http://127.0.0.1:{port}"
        inside = f"import requests, mlflow; requests.post('{uri}/die', data='{{}}'); mlflow.log_metric('accuracy', 1.0)"
        said = unusable(workbench, f"http://ada:secret@127.0.0.1:{port}", computed=True, inside=inside)
    assert f"{uri} cannot be used" in said
    created, batch, *_ = DyingServer.asked
    assert created[0] == "runs/create"
    assert {"git_commit", "data_version", "manifest_digest"} <= {tag["key"] for tag in created[1]["tags"]}
    assert batch[0] == "runs/log-batch"
    assert {param["key"] for param in batch[1]["params"]} == {"experiment_name", "seed", "data.path", "data_version"}
    assert [path for path, _ in DyingServer.asked if path.startswith("runs/")].count("runs/log-batch") == 1


# --- an embedded database


def test_eight_processes_can_begin_with_no_store_at_once(workbench: Workbench, tmp_path: Path) -> None:
    store = tmp_path / "new" / "mlflow.db"

    def record(number: int) -> CompletedProcess[str]:
        return workbench.run("python", "scripts/record.py", f"run {number}", env=store_at(store), timeout=600)

    with ThreadPoolExecutor(8) as pool:
        for done in pool.map(record, range(8)):
            assert done.returncode == 0, done.stderr
    runs = workbench.runs(store)
    assert {name: run.status for name, run in runs.items()} == {f"run {number}": "FINISHED" for number in range(8)}
    assert all((run.evidence / "manifest.json").is_file() for run in runs.values())


def test_a_store_that_was_left_half_made_is_made_anew(workbench: Workbench, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db.unfinished").write_bytes(b"half a database")
    done = workbench.run("python", "scripts/record.py", env=store_at(tmp_path / "mlflow.db"))
    assert done.returncode == 0, done.stderr
    assert [run.status for run in workbench.runs(tmp_path / "mlflow.db").values()] == ["FINISHED"]


def test_a_file_that_is_no_database_is_named(workbench: Workbench, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database, " * 100)
    said = unusable(workbench, store_at(tmp_path / "mlflow.db")["MLFLOW_TRACKING_URI"])
    assert "mlflow.db cannot be used" in said
    assert "file is not a database" in said


def test_a_folder_that_cannot_be_written_is_named(workbench: Workbench, tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # no folder for anybody, root included
    said = unusable(workbench, store_at(tmp_path / "file" / "mlflow.db")["MLFLOW_TRACKING_URI"])
    assert "/file/mlflow.db cannot be used" in said
    assert "the folder can be written" in said


def test_a_database_that_is_a_folder_is_named(workbench: Workbench, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    assert "mlflow.db cannot be used" in unusable(workbench, store_at(tmp_path / "mlflow.db")["MLFLOW_TRACKING_URI"])


def test_a_database_that_breaks_during_the_run_is_named(workbench: Workbench, tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    inside = f"import sqlite3; c = sqlite3.connect({str(store)!r}); c.execute('DROP TABLE latest_metrics'); c.commit()"
    assert "cannot be used" in unusable(workbench, store_at(store)["MLFLOW_TRACKING_URI"], computed=True, inside=inside)
    with closing(sqlite3.connect(store)) as database:
        assert database.execute("SELECT status FROM runs").fetchall() != [("FINISHED",)]


def test_a_deleted_experiment_is_named(workbench: Workbench, tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    assert workbench.run("python", "scripts/record.py", env=store_at(store)).returncode == 0
    with closing(sqlite3.connect(store)) as database:
        database.execute("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = 'stored'")
        database.commit()
    assert "the experiment 'stored' was deleted there" in unusable(workbench, store_at(store)["MLFLOW_TRACKING_URI"])


def test_a_database_server_that_is_down_is_given_up(workbench: Workbench) -> None:
    said = unusable(workbench, "postgresql://ada:secret@127.0.0.1:9/mlflow")
    assert "postgresql://127.0.0.1:9/mlflow cannot be used" in said


@pytest.mark.parametrize(
    "uri", ["./mlruns", "file:///tmp/mlruns", "mlflow.example.com:5000", "databricks", "ftp://ada:secret@x"]
)
def test_an_address_of_another_kind_is_no_store(workbench: Workbench, uri: str) -> None:
    assert "is no tracking store: use sqlite:///mlflow.db" in unusable(workbench, uri)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_project_in_a_folder_of_an_odd_name_keeps_its_runs(
    run_in: Callable[..., CompletedProcess[str]], workbench: Workbench, tmp_path: Path
) -> None:
    path = tmp_path / "Ada's 1st project, 100% ü & #2"
    copytree(workbench.path, path)
    rmtree(path / "mlartifacts", ignore_errors=True)
    odd = Workbench(run_in, path)
    done = odd.run("python", "scripts/record.py")
    assert done.returncode == 0, done.stderr
    validated = odd.run("repro", "validate", odd.runs()["run"].id)
    assert validated.returncode == 0, validated.stdout + validated.stderr
    assert (path / "mlartifacts").is_dir()


def test_a_login_in_the_address_is_kept_where_mlflow_looks_for_it_and_prints_it_nowhere(workbench: Workbench) -> None:
    code = """
import os
from reproducibility.tracking.store import connect
print(connect().tracking_uri, os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"])
"""
    done = workbench.python(code, env={"MLFLOW_TRACKING_URI": "https://ada:p%40ss@mlflow.example.com/team"})
    assert done.stdout.split() == ["https://mlflow.example.com/team", "ada", "p@ss"]


def test_a_store_that_was_moved_is_refused_and_splits_no_runs(workbench: Workbench, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert workbench.run("python", "scripts/record.py", env=store_at(old / "mlflow.db")).returncode == 0
    (run,) = workbench.runs(old / "mlflow.db").values()
    old.rename(new)
    recorded = workbench.run("python", "scripts/record.py", env=store_at(new / "mlflow.db"))
    validated = workbench.run("repro", "validate", run.id, env=store_at(new / "mlflow.db"))
    for done in (recorded, validated):
        assert done.returncode == 2, done.stderr
        assert f"it was moved, and its artifacts are looked for in {old / 'mlartifacts'}" in done.stderr
    assert not old.exists()
