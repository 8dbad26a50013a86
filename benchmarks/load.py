"""Many clients at once, whose server is killed again and again: what the server has of their runs in the end."""

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from postgres_server import postgres_server, programs
from tracking_server import TrackingServer

from .stopwatch import require_success, say
from .table import All, Row, Section
from .tracked_run import server_in
from .workshop import Workshop

CLIENT = Path(__file__).with_name("load_client.py")
CLIENTS, RUNS, POINTS, RESTARTS = 16, 100, 20, 3
AWAY_S = 5
LIMIT_S = 3600
API = "/api/2.0/mlflow"
EXPERIMENT, PAGE = "load", 1000
# What the server may say of a run, and whether a client recorded it.
VERDICTS = {("FINISHED", True), ("FAILED", False)}
METHOD = f"""\
{CLIENTS} processes each record {RUNS} tracked runs of {POINTS} points and a file, one run after the other, on one gated
server with one worker. The server is killed (`kill -9`) {RESTARTS} times meanwhile, and started again {AWAY_S} seconds
later. A client that finds no server when a run is to begin begins the run again, as a person would. When all clients
are through, `repro sync` ships what they left. A run is *recorded* if its block ended without an error; it is *whole*
if the server has it as FINISHED, with its file and with each of its points once. The server also has runs whose
beginning was not answered because it was killed: no client recorded them, and they are FAILED."""


class Crowd:
    """The clients, and the ids of the runs that they recorded; their files and logs are in *folder*."""

    def __init__(self, workshop: Workshop, folder: Path, env: Mapping[str, str], clients: int, runs: int) -> None:
        self._folder = folder
        self._command = [workshop.child / "python", CLIENT, str(runs), str(POINTS)]
        self._processes: list[subprocess.Popen[bytes]] = []
        for number in range(clients):
            with (folder / f"client-{number}.log").open("wb") as log:
                command = [*self._command, folder / f"client-{number}.runs"]
                self._processes.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))

    def recorded(self) -> set[str]:
        return {run_id for file in self._folder.glob("client-*.runs") for run_id in file.read_text("ascii").split()}

    def wait_for(self, runs: int) -> None:
        """Wait until so many runs are recorded; raises RuntimeError if a client failed."""
        until = time.monotonic() + LIMIT_S
        while len(self.recorded()) < runs:
            for number, process in enumerate(self._processes):
                if process.poll():
                    log = (self._folder / f"client-{number}.log").read_text("utf-8")
                    raise RuntimeError(f"client {number} ended with status {process.returncode}:\n{log}")
            if time.monotonic() > until:
                raise RuntimeError(f"{len(self.recorded())} of {runs} runs are recorded after {LIMIT_S} seconds")
            time.sleep(0.5)

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        for process in self._processes:
            if error is not None:
                process.kill()
            process.wait()


def measure(workshop: Workshop) -> Section:
    """Let the crowd in on SQLite and on PostgreSQL, and return the rows."""
    folder = workshop.folder / "load"
    folder.mkdir()
    rows = crowd_on(workshop, folder / "sqlite", "SQLite")
    if not workshop.smoke:
        rows += on_postgresql(workshop, folder / "postgresql")
    return Section("Load and outages", METHOD, rows)


def on_postgresql(workshop: Workshop, folder: Path) -> list[Row]:
    name = "PostgreSQL"
    if (found := programs()) is None:
        return [Row(f"{name}: whole runs", None, "recorded runs", missing=f"{name} is not installed here")]
    with postgres_server(found) as address:
        return crowd_on(workshop, folder, name, address)


def crowd_on(workshop: Workshop, folder: Path, name: str, database: str | None = None) -> list[Row]:
    """Let the crowd record, kill its server meanwhile, and compare what the crowd and the server have."""
    clients, runs = workshop.size(CLIENTS, smoke=2), workshop.size(RUNS, smoke=2)
    restarts = workshop.size(RESTARTS)
    say(f"{clients * runs} runs of {clients} clients on {name}")
    with server_in(workshop, folder, gated=True, database=database) as server:
        env = workshop.child_env | {"MLFLOW_TRACKING_URI": server.uri}
        with Crowd(workshop, folder, env, clients, runs) as crowd:
            for number in range(restarts):
                crowd.wait_for((number + 1) * clients * runs // (restarts + 1))
                server.kill()
                say("    the server was killed")
                time.sleep(AWAY_S)
                server.start()
            crowd.wait_for(clients * runs)
        recorded = crowd.recorded()
        left = len(waiting(workshop, env))
        repro(workshop, env, "sync")
        found = stored(server)
        whole = [run_id for run_id in recorded & found.keys() if is_whole(server, folder, found[run_id])]
        rest = len(waiting(workshop, env))
    say(f"    {left} runs were left to `repro sync`, {len(found) - len(recorded)} runs began unanswered")
    right = [run_id for run_id, info in found.items() if (info["status"], run_id in recorded) in VERDICTS]
    on_server = "runs on the server"
    return [
        Row(f"{name}: whole runs", len(whole), "recorded runs", len(recorded), All()),
        Row(f"{name}: runs with the right verdict", len(right), on_server, len(found), All()),
        Row(f"{name}: runs of which nothing waits after `repro sync`", len(found) - rest, on_server, len(found), All()),
    ]


def stored(server: TrackingServer) -> dict[str, dict]:
    """Return {run id: what the server says of the run} of every run that the server has."""
    name = urlencode({"experiment_name": EXPERIMENT})
    experiment = asked(server, f"experiments/get-by-name?{name}")["experiment"]["experiment_id"]
    found, page = {}, {}
    while True:
        body = {"experiment_ids": [experiment], "max_results": PAGE, **page}
        answer = asked(server, "runs/search", body)
        found |= {run["info"]["run_id"]: run["info"] for run in answer.get("runs", [])}
        if not answer.get("next_page_token"):
            return found
        page = {"page_token": answer["next_page_token"]}


def is_whole(server: TrackingServer, folder: Path, info: Mapping[str, str]) -> bool:
    """Whether the run is FINISHED, with its file and with each of its points once."""
    query = urlencode({"run_id": info["run_id"], "metric_key": "loss", "max_results": PAGE})
    points = asked(server, f"metrics/get-history?{query}").get("metrics", [])
    steps = sorted(int(point.get("step", 0)) for point in points)
    file = folder / "artifacts" / info["experiment_id"] / info["run_id"] / "artifacts" / "result.txt"
    return info["status"] == "FINISHED" and steps == list(range(POINTS)) and file.exists()


def asked(server: TrackingServer, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what the server answers; raises RuntimeError where it refuses."""
    status, text = server.ask(f"{API}/{path}", body or b"", "GET" if body is None else "POST")
    if status != 200:
        raise RuntimeError(f"{path}: {text}")
    return json.loads(text)


def waiting(workshop: Workshop, env: Mapping[str, str]) -> list[dict]:
    """Return the runs that wait on this machine."""
    return json.loads(repro(workshop, env, "sync", "--status", "--json", statuses=(0, 1)))


def repro(workshop: Workshop, env: Mapping[str, str], *arguments: str, statuses: tuple[int, ...] = (0,)) -> str:
    """Run the command in the project, and return what it printed."""
    command: list[str | Path] = [workshop.child / "repro", *arguments]
    done = subprocess.run(command, cwd=workshop.project, env=env, check=False, capture_output=True, text=True)
    if done.returncode not in statuses:
        require_success(command, done)
    return done.stdout
