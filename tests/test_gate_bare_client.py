"""What a client without any code of ours tries at a real server: each attempt once succeeded."""

import gzip
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess
from threading import Barrier

import pytest
from bare_client import API, FILES, GATE, BareClient, Provenance, pairs, provenance_of
from conftest import code_of
from tracking_server import TrackingServer
from workbench import Workbench


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    return Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("bare") / project.name)))


@pytest.fixture(scope="module")
def facts(workbench: Workbench) -> Provenance:
    return provenance_of(workbench)


@pytest.fixture(scope="module")
def environment(clean_env: dict[str, str], workbench: Workbench, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("store")
    return clean_env | {
        "PYTHONPATH": code_of(workbench.path),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'server.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": (folder / "files").as_uri(),
    }


@pytest.fixture(scope="module")
def server(server_python: Path, environment: dict[str, str], tmp_path_factory) -> Iterator[TrackingServer]:
    command = [server_python.parent / "repro", "server", "run"]
    with TrackingServer(command, environment, tmp_path_factory.mktemp("server") / "log") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: TrackingServer, facts: Provenance) -> BareClient:
    return BareClient(server, facts)


@pytest.fixture(scope="module")
def finished(client: BareClient) -> str:
    """The id of a run that has finished."""
    return client.record()


def model_of(client: BareClient, run_id: str) -> str:
    body = {"experiment_id": "0", "name": "model", "source_run_id": run_id}
    return client.done(f"{API}/logged-models", body)["model"]["info"]["model_id"]


def metric(run_id: str, model_id: str | None = None) -> dict:
    one = {"key": "loss", "value": 1.0, "timestamp": 1, "step": 0}
    return one | {"run_id": run_id} | ({"model_id": model_id} if model_id else {})


@pytest.mark.parametrize("way", ["log-metric", "log-batch"])
def test_the_model_of_a_closed_run_takes_no_metrics_from_an_open_run(client: BareClient, way: str) -> None:
    ours, other = client.begin(), client.begin()
    model_id = model_of(client, ours)
    one = metric(other, model_id)
    body = one if way == "log-metric" else {"run_id": other, "metrics": [one]}
    assert client.ask(f"{API}/runs/{way}", body)[0] == 200  # a worker of the run that goes on
    client.put_evidence(ours)
    assert client.end(ours)[0] == 200
    status, text = client.ask(f"{API}/runs/{way}", body)
    assert (status, f"{GATE}run {ours} has ended FINISHED" in text) == (400, True), text
    assert client.ask(f"{API}/runs/log-metric", metric(other))[0] == 200


def at_the_same_time(*calls: Callable[[], tuple[int, str]]) -> list[tuple[int, str]]:
    """Let each of *calls* begin when all are ready; return what they returned."""
    barrier = Barrier(len(calls))

    def one(call: Callable[[], tuple[int, str]]) -> tuple[int, str]:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(one, calls))


def test_evidence_is_not_swapped_while_its_run_ends(client: BareClient, facts: Provenance) -> None:
    other = facts.evidence["manifest.json"].replace('"bare"', '"dear"').encode()
    assert other.decode() != facts.evidence["manifest.json"]
    ended = []
    for _ in range(30):
        run_id = client.begin()
        client.put_evidence(run_id)
        path = f"{FILES}/0/{run_id}/artifacts/reproducibility/manifest.json"
        with closing(HTTPConnection("127.0.0.1", client.server.port, timeout=600)) as connection:
            connection.putrequest("PUT", path)
            connection.putheader("Content-Length", str(len(other)))
            connection.endheaders()
            connection.send(other[:-1])

            def swap(connection: HTTPConnection = connection) -> tuple[int, str]:
                connection.send(other[-1:])
                with connection.getresponse() as answer:
                    return answer.status, answer.read().decode()

            swapped, _ = at_the_same_time(swap, lambda run_id=run_id: client.end(run_id))
        ended.append((client.status(run_id), swapped[0], client.done_text(path) == other.decode()))
    # Either the run had ended, and the file was refused; or the file came first, and the run could not finish with it.
    assert set(ended) <= {("FINISHED", 400, False), ("FAILED", 200, True)}, ended


def test_a_run_ends_once(client: BareClient) -> None:
    for _ in range(10):
        run_id = client.begin()
        client.put_evidence(run_id)
        ends = ("FINISHED", "FAILED", "KILLED")
        answers = at_the_same_time(*(partial(client.end, run_id, status) for status in ends))
        done = [status for status, answer in zip(ends, answers, strict=True) if answer[0] == 200]
        assert done == [client.status(run_id)]
        assert all(f"{GATE}run {run_id} has ended" in text for status, text in answers if status != 200)


@pytest.mark.parametrize("tag", ["mlflow.source.name", "mlflow.log-model.history", "reproducibility.process"])
def test_what_made_a_run_does_not_change_after_its_end(client: BareClient, finished: str, tag: str) -> None:
    run_id = client.begin()
    for value in ("train.py", "other.py"):
        assert client.ask(f"{API}/runs/set-tag", {"run_id": run_id, "key": tag, "value": value})[0] == 200
    client.put_evidence(run_id)
    assert client.end(run_id)[0] == 200
    for path, body in (
        ("set-tag", {"run_id": run_id, "key": tag, "value": "late.py"}),
        ("delete-tag", {"run_id": run_id, "key": tag}),
        ("set-tag", {"run_id": finished, "key": tag, "value": "late.py"}),
        ("log-batch", {"run_id": run_id, "tags": pairs({tag: "late.py"})}),
    ):
        status, text = client.ask(f"{API}/runs/{path}", body)
        assert (status, f"{GATE}run" in text, f"{tag} cannot change now" in text) == (400, True, True), text
    assert client.ask(f"{API}/runs/set-tag", {"run_id": run_id, "key": tag, "value": "other.py"})[0] == 200


@pytest.mark.parametrize(
    "source", ["s3://bucket/model", "gs://bucket/model", "http://127.0.0.1:1/model", "mlflow-artifacts://elsewhere/x"]
)
def test_the_server_reads_no_model_that_was_not_logged_in_it(client: BareClient, finished: str, source: str) -> None:
    client.ask(f"{API}/registered-models/create", {"name": "whales"})
    for run in ({}, {"run_id": finished}):
        status, text = client.ask(f"{API}/model-versions/create", {"name": "whales", "source": source, **run})
        assert status == 400, text
    model_id = model_of(client, client.begin())
    for good in (f"models:/{model_id}", f"runs:/{finished}/model"):
        origin = {"model_id": model_id} if good.startswith("models:") else {"run_id": finished}
        client.done(f"{API}/model-versions/create", {"name": "whales", "source": good, **origin})


@pytest.mark.parametrize("location", ["mlflow-artifacts:/../x", "mlflow-artifacts:/%2e%2e/x", "mlflow-artifacts:x"])
def test_an_experiment_whose_runs_could_not_finish_is_refused(client: BareClient, location: str) -> None:
    status, text = client.ask(f"{API}/experiments/create", {"name": location, "artifact_location": location})
    assert (status, f"{GATE}no run can keep files in" in text) == (400, True), text


def test_the_files_of_a_trace_are_read_where_the_server_put_them(client: BareClient) -> None:
    location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
    info = {"trace_id": "tr-1", "trace_location": location, "request_time": "2026-01-01T00:00:00Z", "state": "OK"}
    client.done("/api/3.0/mlflow/traces", {"trace": {"trace_info": info}})
    body = {"key": "mlflow.artifactLocation", "value": "s3://bucket/x"}
    status, text = client.ask("/api/3.0/mlflow/traces/tr-1/tags", body, "PATCH")
    assert (status, GATE in text) == (400, True), text


def refused_size(client: BareClient, path: str, headers: dict[str, str], pieces: Iterable[bytes]) -> int:
    """Send a body in *pieces* until the server answers; return the status."""
    with closing(HTTPConnection("127.0.0.1", client.server.port, timeout=600)) as connection:
        connection.putrequest("POST", path)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        with suppress(OSError):  # the server does not wait for the rest
            for piece in pieces:
                connection.send(piece)
        with connection.getresponse() as answer:
            return answer.status


def test_a_body_that_would_fill_the_memory_is_refused(client: BareClient) -> None:
    path, kind, megabyte = f"{API}/runs/create", {"Content-Type": "application/json"}, b" " * 1024**2
    assert refused_size(client, path, kind | {"Content-Length": str(1024**3)}, [megabyte]) == 413
    chunk = b"100000\r\n" + megabyte + b"\r\n"
    assert refused_size(client, path, kind | {"Transfer-Encoding": "chunked"}, [chunk] * 17) == 413
    bomb = gzip.compress(megabyte * 64)
    traces = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip", "x-mlflow-experiment-id": "0"}
    assert refused_size(client, "/v1/traces", traces | {"Content-Length": str(len(bomb))}, [bomb]) == 413
    run_id = client.begin()
    assert client.put(run_id, "large.bin", "x" * 20 * 1024**2)[0] == 200  # a file goes to disk


def test_evidence_that_would_keep_the_server_busy_is_not_read(client: BareClient) -> None:
    run_id = client.begin()
    client.put_evidence(run_id)
    assert client.put(run_id, "reproducibility/config.yaml", "key: [1, 2]\n" * 500_000)[0] == 200
    status, text = client.end(run_id)
    assert (status, "its evidence is too large: config.yaml has 6000000 bytes" in text) == (400, True), text
    assert client.status(run_id) == "FAILED"


def test_a_run_whose_evidence_would_be_too_large_does_not_start(workbench: Workbench) -> None:
    code = (
        "from reproducibility import tracked_run\n"
        "deep = [1] * 10_000\n"
        "for _ in range(30):\n"
        "    deep = {'a': deep}\n"
        "values = {'experiment_name': 'x', 'seed': 1, 'data': {'path': 'data/penguins.csv'}, 'deep': deep}\n"
        "with tracked_run(values):\n"
        "    print('inside')\n"
    )
    done = workbench.run("python", "-c", code, env={"AUTHOR": "Ada <ada@example.com>"})
    assert done.returncode != 0 and "inside" not in done.stdout
    assert "evidence: config.yaml has " in done.stderr, done.stderr


def test_a_method_in_small_letters_is_the_same_method(
    server_python: Path, environment: dict[str, str], facts: Provenance, tmp_path: Path
) -> None:
    """The parser h11, which uvicorn takes where httptools is not installed, passes `put` on as it is."""
    app = ["-m", "uvicorn", "--factory", "reproducibility.gate.app:create_app", "--host", "127.0.0.1", "--http", "h11"]
    database = environment["MLFLOW_BACKEND_STORE_URI"]
    env = environment | {"_MLFLOW_SERVER_FILE_STORE": database, "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true"}
    env |= {"_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/", "_MLFLOW_SGI_NAME": "uvicorn"}
    env |= {"_MLFLOW_SERVER_ARTIFACT_DESTINATION": environment["MLFLOW_ARTIFACTS_DESTINATION"]}
    with TrackingServer([server_python, *app], env, tmp_path / "log") as server:
        client = BareClient(server, facts)
        run_id = client.record()
        manifest = f"{FILES}/0/{run_id}/artifacts/reproducibility/manifest.json"
        for method in ("PUT", "put", "Put"):
            status, text = raw(server, method, manifest, b"{}")
            assert (status, GATE in text) == (400, True), (method, status, text)
        assert client.ask(manifest, method="GET") == (200, facts.evidence["manifest.json"])
        page = b"Origin: http://evil.example\r\n"
        for method in ("POST", "post"):
            assert raw(server, method, f"{API}/experiments/create", b'{"name": "by a page"}', page)[0] == 403


def test_a_store_of_files_that_hangs_is_given_up_soon(server_python: Path, environment: dict[str, str]) -> None:
    code = (
        "from reproducibility.gate.s3 import Relay, limit_waits; limit_waits();"
        "limits = Relay('s3://bucket').client.meta.config;"
        "print(limits.connect_timeout, limits.read_timeout, limits.retries['total_max_attempts'])"
    )
    env = environment | {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    env |= {"MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:1"}
    command = [server_python, "-W", "ignore", "-c", f"import mlflow; {code}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout.split() == ["3", "20", "2"], done.stderr


def raw(server: TrackingServer, method: str, path: str, body: bytes, headers: bytes = b"") -> tuple[int, str]:
    """Send a request whose method no library would send; return the status and the whole answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(head.encode() + headers + b"\r\n" + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    return int(answer.split(maxsplit=2)[1]), answer
