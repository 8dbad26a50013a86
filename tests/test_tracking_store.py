"""The tracking store: unreachable, broken or new. An error is one line, comes within seconds, and has no password."""

import json
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copyfile, copytree
from subprocess import CompletedProcess
from threading import Thread

import pytest
from small_disk import small_disk
from workbench import INSIDE, Workbench, store_at

# A guard against hanging, far beyond the seconds that each attempt takes.
HANGING_S = 60


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    """A project with scripts that record a run; each test brings a store of its own."""
    workbench = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("store") / project.name)))
    workbench.add("record_stored.py", "record_in_each_store.py", "record_eight.py")
    workbench.commit()
    return workbench


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


# --- stores in which no run can begin

ANSWERS = {
    "an error": answering(500, b"oh no"),
    "busy for an hour": answering(503, b"", Retry_After="3600"),
    "too many requests": answering(429, b"", Retry_After="3600"),
    "a page": answering(200, b"<html>Welcome to the intranet</html>"),
    "a list": answering(200, b"[1, 2]"),
    "unauthorized": answering(401, b"who are you?"),
    "not MLflow": answering(404, b"nothing here"),
}
ADDRESSES = ("./mlruns", "file:///tmp/mlruns", "mlflow.example.com:5000", "databricks", "ftp://ada:secret@x")


@pytest.fixture(scope="module")
def recorded(workbench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of one run. The process that began to make the store before left half a database."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "mlflow.db.unfinished").write_bytes(b"half a database")
    done = workbench.run("python", "scripts/record_stored.py", env=store_at(folder / "mlflow.db"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def errors(workbench: Workbench, recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The error of each store in which no run can begin: {what is wrong: the line}, "PORT" for the port of a server."""
    folder = tmp_path_factory.mktemp("unusable")
    (folder / "text.db").write_bytes(b"this is no database, " * 100)
    (folder / "file").touch()  # no folder for anybody, root included
    (folder / "folder.db").mkdir()
    files = {"text": folder / "text.db", "no folder": folder / "file" / "mlflow.db", "folder": folder / "folder.db"}
    files["deleted"] = Path(copyfile(recorded / "mlflow.db", folder / "deleted.db"))
    with closing(sqlite3.connect(files["deleted"])) as database:
        database.execute("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = 'stored'")
        database.commit()
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as silent:
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports = {"down": free.getsockname()[1]}
        ports["silent"] = silent.getsockname()[1]
        ports |= {name: stack.enter_context(serving(handler)).server_port for name, handler in ANSWERS.items()}
        uris = {name: f"http://ada:secret@127.0.0.1:{port}" for name, port in ports.items()}
        uris |= {name: store_at(path)["MLFLOW_TRACKING_URI"] for name, path in files.items()}
        uris |= {address: address for address in ADDRESSES}
        uris["unknown host"] = "https://ada:secret@no-such-host.invalid"
        uris["database server"] = "postgresql://ada:secret@127.0.0.1:9/mlflow"
        done = workbench.run("python", "scripts/record_in_each_store.py", json.dumps(uris))
    assert done.returncode == 0, done.stderr
    lines = {}
    for name, (status, output, text, seconds) in json.loads(done.stdout.splitlines()[-1]).items():
        assert status == 2, text
        assert INSIDE not in output
        assert "Traceback" not in text
        assert "secret" not in output + text
        assert seconds < HANGING_S
        lines[name] = text.strip().splitlines()[-1].replace(f":{ports.get(name)}", ":PORT")
        assert lines[name].startswith("Error: the tracking store ")
    return lines


def test_a_server_that_is_down_is_named_without_its_password(errors: dict[str, str]) -> None:
    assert "http://127.0.0.1:PORT cannot be used" in errors["down"]
    assert "Start the server" in errors["down"]


def test_an_unknown_host_is_named(errors: dict[str, str]) -> None:
    assert "https://no-such-host.invalid cannot be used" in errors["unknown host"]


@pytest.mark.parametrize("server", ["silent", *ANSWERS])
def test_a_server_that_does_not_answer_as_mlflow_does_is_given_up(errors: dict[str, str], server: str) -> None:
    assert "http://127.0.0.1:PORT cannot be used" in errors[server]


def test_a_file_that_is_no_database_is_named(errors: dict[str, str]) -> None:
    assert "text.db cannot be used" in errors["text"]
    assert "file is not a database" in errors["text"]


def test_a_folder_that_cannot_be_written_is_named(errors: dict[str, str]) -> None:
    assert "/file/mlflow.db cannot be used" in errors["no folder"]
    assert "the folder can be written" in errors["no folder"]


def test_a_database_that_is_a_folder_is_named(errors: dict[str, str]) -> None:
    assert "folder.db cannot be used" in errors["folder"]


def test_a_deleted_experiment_is_named(errors: dict[str, str]) -> None:
    assert "the experiment 'stored' was deleted there" in errors["deleted"]


def test_a_database_server_that_is_down_is_given_up(errors: dict[str, str]) -> None:
    assert "postgresql://127.0.0.1:9/mlflow cannot be used" in errors["database server"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_of_another_kind_is_no_store(errors: dict[str, str], address: str) -> None:
    assert "is no tracking store: use sqlite:///mlflow.db" in errors[address]


# --- stores that break while a run goes on


def error_inside(workbench: Workbench, uri: str, function: str, argument: str) -> str:
    """Record a run at *uri* that calls *function*, see that it ends with one line about the store, and return that."""
    record = ["python", "scripts/record_stored.py", "run", function, argument]
    # Without patience: a run waits for minutes otherwise.
    done = workbench.run(*record, env={"MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"})
    assert done.returncode == 2, done.stderr
    assert INSIDE in done.stdout
    assert "secret" not in done.stdout + done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("Error: the tracking store ")
    return line


class DyingServer(BaseHTTPRequestHandler):
    """As much of a tracking server as one run needs to begin, with a way to switch it off."""

    requests: list[tuple[str, dict]]
    artifacts: str

    def do_GET(self) -> None:
        self._answer({"experiment": {"experiment_id": "1", "name": "stored", "lifecycle_stage": "active"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        self.requests.append((self.path.rpartition("mlflow/")[2], body))
        if self.path.endswith("die"):
            # Closed before the answer: no later request is accepted.
            self.server.socket.close()
            Thread(target=self.server.shutdown).start()
        info = {"run_id": "a" * 32, "run_uuid": "a" * 32, "experiment_id": "1", "status": "RUNNING", "start_time": 1}
        info |= {"lifecycle_stage": "active", "artifact_uri": self.artifacts, "run_name": "run"}
        self._answer({"run": {"info": info, "data": {"tags": body.get("tags", [])}}} if "create" in self.path else {})

    def _answer(self, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_dies_during_the_run_is_named_and_had_the_tags_from_the_start(
    workbench: Workbench, tmp_path: Path
) -> None:
    DyingServer.requests, DyingServer.artifacts = [], tmp_path.as_uri()
    with ThreadingHTTPServer(("127.0.0.1", 0), DyingServer) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        env = {"MLFLOW_TRACKING_URI": uri.replace("//", "//ada:secret@"), "REPRODUCIBILITY_PATIENCE": "1"}
        done = workbench.run("python", "scripts/record_stored.py", "dies", "switch_off", uri, env=env)
    assert done.returncode == 0, done.stderr
    assert f"entries wait for {uri}: repro sync" in done.stderr
    assert "secret" not in done.stderr
    created = DyingServer.requests[0]
    assert created[0] == "runs/create"
    assert {"git_commit", "data_version", "manifest_digest"} <= {tag["key"] for tag in created[1]["tags"]}


def test_a_database_that_breaks_during_the_run_is_named(workbench: Workbench, tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    uri = store_at(store)["MLFLOW_TRACKING_URI"]
    assert "cannot be used" in error_inside(workbench, uri, "drop_metrics", str(store))
    with closing(sqlite3.connect(store)) as database:
        assert database.execute("SELECT status FROM runs").fetchall() != [("FINISHED",)]


def test_a_database_on_a_full_disk_is_named_and_the_run_ends_failed(workbench: Workbench, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        store = disk / "mlflow.db"
        line = error_inside(workbench, store_at(store)["MLFLOW_TRACKING_URI"], "fill_disk", str(disk))
        assert line.endswith("cannot be used: its disk is full. Free space there, then start the run again.")
        (run,) = workbench.runs(store).values()
    assert run.status == "FAILED"
    assert run.tags["failure"] == "the tracking store could not be written: its disk is full"


# --- an embedded database


def test_a_database_that_another_program_keeps_locked_is_named(
    workbench: Workbench, recorded: Path, tmp_path: Path
) -> None:
    store = Path(copyfile(recorded / "mlflow.db", tmp_path / "locked.db"))
    with closing(sqlite3.connect(store, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        done = workbench.run("repro", "validate", "last", env=store_at(store))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "cannot be used: another process keeps it locked. Wait for the program that writes to it" in done.stderr


@pytest.mark.parametrize(
    ("schema", "made", "fix"),
    [
        (
            "867495a8f9d4",
            "an older MLflow made it",
            "Copy the database, then upgrade it with `mlflow db upgrade sqlite:///",
        ),
        ("f" * 12, "a newer MLflow made it", "Install the lock that recorded its last run"),
    ],
)
def test_a_store_of_another_mlflow_is_named(
    schema: str, made: str, fix: str, workbench: Workbench, recorded: Path, tmp_path: Path
) -> None:
    store = Path(copyfile(recorded / "mlflow.db", tmp_path / "other.db"))
    with closing(sqlite3.connect(store)) as database, database:
        (ours,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
        database.execute("UPDATE alembic_version SET version_num = ?", (schema,))
    done = workbench.run("repro", "validate", "last", env=store_at(store))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert f"cannot be used: {made}, with schema {schema}; this is MLflow " in done.stderr
    assert f", with schema {ours}. {fix}" in done.stderr


def test_eight_processes_can_begin_with_no_store_at_once(workbench: Workbench, tmp_path: Path) -> None:
    store = tmp_path / "new" / "mlflow.db"
    done = workbench.run("python", "scripts/record_eight.py", env=store_at(store))
    assert json.loads(done.stdout.splitlines()[-1]) == [0] * 8, done.stderr
    runs = workbench.runs(store)
    assert {name: run.status for name, run in runs.items()} == {f"run {number}": "FINISHED" for number in range(8)}
    assert all((run.evidence / "manifest.json").is_file() for run in runs.values())


def test_a_store_that_was_left_half_made_is_made_anew(workbench: Workbench, recorded: Path) -> None:
    assert [run.status for run in workbench.every_run(recorded / "mlflow.db")] == ["FINISHED"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_project_in_a_folder_of_an_odd_name_keeps_its_runs(
    run_in: Callable[..., CompletedProcess[str]], workbench: Workbench, tmp_path: Path
) -> None:
    path = tmp_path / "Ada's 1st project, 100% ü & #2"
    copytree(workbench.path, path)
    odd = Workbench(run_in, path)
    done = odd.run("python", "scripts/record_stored.py")
    assert done.returncode == 0, done.stderr
    validated = odd.run("repro", "validate", odd.runs()["run"].id)
    assert validated.returncode == 0, validated.stdout + validated.stderr
    assert (path / "mlartifacts").is_dir()


def test_a_login_in_the_address_is_put_where_mlflow_looks_for_it_and_printed_nowhere(workbench: Workbench) -> None:
    done = workbench.script("print_login.py", env={"MLFLOW_TRACKING_URI": "https://ada:p%40ss@mlflow.example.com/team"})
    assert done.stdout.split() == ["https://mlflow.example.com/team", "ada", "p@ss"]


def test_a_store_that_was_moved_is_refused_and_splits_no_runs(workbench: Workbench, recorded: Path, errors) -> None:
    (run,) = workbench.every_run(recorded / "mlflow.db")
    moved = recorded.rename(recorded.with_name("moved"))
    new = store_at(moved / "mlflow.db")
    for command in (["python", "scripts/record_stored.py"], ["repro", "validate", run.id]):
        done = workbench.run(*command, env=new)
        assert done.returncode == 2, done.stderr
        assert f"it was moved, and its artifacts are looked for in {recorded / 'mlartifacts'}" in done.stderr
    assert not recorded.exists()
    moved.rename(recorded)
