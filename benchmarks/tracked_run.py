"""The tracked run against a bare MLflow run that records the same, on one loopback server."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .stopwatch import say, take_turns
from .table import AtMost, Row, Section
from .workshop import Workshop

ROUNDS = 9
CLIENT = Path(__file__).with_name("tracked_run_client.py")
LEAST_REQUESTS = 6  # create with tags, one log_batch, get + put of one artifact, get + update
ARTIFACT_BYTES = 20_000
METHOD = """\
Against an `mlflow server` with one worker on loopback. All sides record the same tags, params, metrics and files,
which is checked for every run; the project also records its dataset. Each side is a process with everything
imported and one run behind it. A tracked run's time includes gathering its provenance (git, data, environment),
seeding, and both judgements. The bare sides know their values beforehand. *One by one* is what tutorials do:
`set_experiment`, `start_run`, `set_tag`, `log_param`, `log_metric` and `log_artifact` for each; *batch* is
`start_run(tags=…)`, `log_params`, `log_metrics`, `log_artifacts`. Requests are counted in the client, where
`requests` hands them to a connection."""


class Client:
    """One side: a process that records a run each time it is asked."""

    def __init__(self, name: str, command: list[str | Path], env: dict[str, str]) -> None:
        self.name = name
        self.requests: list[str] = []
        self.recorded: list[dict] = []
        self._process = subprocess.Popen(
            command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> "Client":
        self()  # the first run imports what MLflow loads late, and opens the connection
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def __call__(self) -> dict[str, float]:
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the side {self.name!r} ended with status {self._process.wait()}")
        result = json.loads(answer)
        self.requests = result["requests"]
        self.recorded.append(result["recorded"])
        return {self.name: result["seconds"]}


def measure(workshop: Workshop) -> Section:
    """Start a server, let the three sides take turns, and return the rows."""
    folder = workshop.folder / "tracked_run"
    folder.mkdir()
    (folder / "confusion_matrix.png").write_bytes(os.urandom(ARTIFACT_BYTES))
    facts = folder / "facts.json"
    with ExitStack() as stack:
        env = workshop.env | {"MLFLOW_TRACKING_URI": stack.enter_context(server(workshop, folder))}
        ours = stack.enter_context(
            Client("tracked_run", [workshop.child / "python", CLIENT, "ours", workshop.package, facts], env)
        )
        singly, batch = (
            stack.enter_context(Client(name, [workshop.bare / "python", CLIENT, way, facts], env))
            for name, way in {"bare, one by one": "one-by-one", "bare, batch": "batch"}.items()
        )
        times = take_turns("tracked run", [ours, singly, batch], ROUNDS)
    first = ours.recorded[0]
    for client in (ours, singly, batch):
        if any(record != first for record in client.recorded):
            raise RuntimeError(f"{client.name} did not record what the others did")
    least = LEAST_REQUESTS + len(first["files"]) - 1
    wall, count = "a run, from before it is created to FINISHED", "HTTP requests of this run"
    rows = [
        Row(wall, times[ours.name], singly.name, times[singly.name], AtMost(1)),
        Row(wall, times[ours.name], batch.name, times[batch.name]),
        Row(count, len(ours.requests), singly.name, len(singly.requests), AtMost(1)),
        Row(count, len(ours.requests), batch.name, len(batch.requests), AtMost(1)),
        Row(
            count,
            len(ours.requests),
            f"least possible ({LEAST_REQUESTS}, and one for each further file)",
            least,
            AtMost(1),
        ),
    ]
    return Section("A tracked run", METHOD, rows, _remarks(ours.requests))


def _remarks(requests: list[str]) -> str:
    paths = (re.sub(r"/[0-9a-f]{32}/", "/…/", request.replace("/api/2.0/mlflow", "")) for request in requests)
    counted = Counter(re.sub(r"artifacts/.*", "artifacts/…", path) for path in paths)
    return "The tracked run asks: " + ", ".join(f"{times} `{path}`" for path, times in counted.items()) + "."


@contextmanager
def server(workshop: Workshop, folder: Path) -> Iterator[str]:
    """An MLflow server with one worker on a free port of the loopback; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *[
            workshop.server / "python",
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
        ],
        *["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", folder / "artifacts"],
    ]
    path = f"{workshop.server}{os.pathsep}{workshop.env['PATH']}"
    env = workshop.env | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PATH": path}
    say("starting the MLflow server")
    with (folder / "server.log").open("w") as log:
        # a session of its own: the server starts processes, and all of them have to end with it
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            _await(process, port, folder / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


def _await(process: subprocess.Popen, port: int, log: Path) -> None:
    for _ in range(240):
        if process.poll() is not None:
            break
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == http.client.OK:
                return
        except (OSError, http.client.HTTPException):
            pass  # not yet
        finally:
            connection.close()
        time.sleep(0.5)
    raise RuntimeError(f"the MLflow server did not start:\n{log.read_text()[-2000:]}")
