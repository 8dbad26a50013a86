"""The tracked run against a bare MLflow run that records the same, on one loopback server."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tracking_server import TrackingServer

from .dialogue import Dialogue
from .stopwatch import say, take_turns
from .table import AtMost, AtMostSeconds, Row, Section
from .workshop import Workshop

ROUNDS = 9
CLIENT = Path(__file__).with_name("tracked_run_client.py")
MOST_PROGRAMS = 6
LEAST_REQUESTS = 6  # create with tags, one log_batch, get + put of one artifact, get + update
ARTIFACT_BYTES = 20_000
METHOD = """\
Against the gated server, and for *one by one* against an `mlflow server`, because the gate takes no run that begins
without its tags; both with one worker on loopback. All sides record the same tags, params, metrics and files, which is
checked for every run. The project also records its dataset and three tags for the machinery alone. Each side is a
process that has imported everything and recorded one run. A tracked run's time includes gathering its provenance (git,
data, environment), seeding, the checks at its start and its end, and the time until its server has everything: a
tracked run that is over waits for that. The bare sides know their values beforehand. *One by one* is what tutorials do:
`set_experiment`, `start_run`, `set_tag`, `log_param`, `log_metric` and `log_artifact` for each; *batch* is
`start_run(tags=…)`, `log_params`, `log_metrics`, `log_artifacts`. Requests are counted in the client, where `requests`
hands them to a connection; the CPU that passes from there to the answer does not count as CPU of the run."""


class Client(Dialogue):
    """One side: a process that records a run each time it is asked."""

    def __init__(self, name: str, command: list[str | Path], env: dict[str, str]) -> None:
        super().__init__(name, command, env)
        self.requests: list[str] = []
        self.programs = 0
        self.recorded: list[dict] = []

    def __enter__(self) -> "Client":
        self()  # the first run imports what MLflow loads late, and opens the connection
        return self

    def __call__(self) -> dict[str, float]:
        result = self.ask("run")
        self.requests = result["requests"]
        self.recorded.append(result["recorded"])
        self.programs = result.get("programs", 0)
        return {self.name: result["seconds"]} | ({self.cpu: result["cpu"]} if "cpu" in result else {})

    @property
    def cpu(self) -> str:
        """The name of the CPU seconds of a run, without those of its requests; programs that it starts are counted."""
        return f"{self.name}, CPU beside HTTP"


def measure(workshop: Workshop) -> Section:
    """Start a server, let the three sides take turns, and return the rows."""
    folder = workshop.folder / "tracked_run"
    folder.mkdir()
    (folder / "confusion_matrix.png").write_bytes(os.urandom(ARTIFACT_BYTES))
    facts = folder / "facts.json"
    with ExitStack() as stack:
        plain = {"MLFLOW_TRACKING_URI": stack.enter_context(server(workshop, folder / "plain"))}
        gated = {"MLFLOW_TRACKING_URI": stack.enter_context(server(workshop, folder / "gated", gated=True))}

        def bare(name: str, way: str, store: dict[str, str]) -> Client:
            return stack.enter_context(
                Client(name, [workshop.bare / "python", CLIENT, way, facts], workshop.env | store)
            )

        def tracked(name: str, store: dict[str, str]) -> Client:
            return stack.enter_context(Client(name, ours_command(workshop, facts), workshop.child_env | store))

        without_gate, ours = tracked("tracked_run, no gate", plain), tracked("tracked_run", gated)
        singly, batch = bare("bare, one by one", "one-by-one", plain), bare("bare, batch", "batch", gated)
        clients = [without_gate, singly, ours, batch]
        times = take_turns("tracked run", clients, workshop.size(ROUNDS))
    first = ours.recorded[0]
    for client in clients:
        for record in client.recorded:
            if different := [part for part in first if record[part] != first[part]]:
                shown = {part: (first[part], record[part]) for part in different}
                raise RuntimeError(f"{client.name} did not record what the first tracked run did: {shown}")
    least = LEAST_REQUESTS + len(first["files"]) - 1
    wall, count = "a run, from before it is created to FINISHED", "HTTP requests of this run"
    cpu = "CPU of this run without its requests, child processes counted"
    rows = [
        Row(
            f"{wall}, on the server without the gate",
            times[without_gate.name],
            singly.name,
            times[singly.name],
            AtMost(1),
        ),
        Row(wall, times[ours.name], batch.name, times[batch.name], AtMost(1.2)),
        Row(count, len(ours.requests), singly.name, len(singly.requests), AtMost(1)),
        Row(count, len(ours.requests), batch.name, len(batch.requests), AtMost(1)),
        Row(
            count,
            len(ours.requests),
            f"least possible ({LEAST_REQUESTS}, and one for each further file)",
            least,
            AtMost(1),
        ),
        Row(cpu, times[ours.cpu], batch.name, times[batch.cpu], AtMostSeconds(0.06)),
        Row("programs that this run starts", ours.programs, "the limit", MOST_PROGRAMS, AtMost(1)),
    ]
    return Section("A tracked run", METHOD, rows, _remarks(ours.requests))


def ours_command(workshop: Workshop, facts: Path) -> list[str | Path]:
    """The command of the side that records tracked runs, and writes down in *facts* what its first one recorded."""
    return [workshop.child / "python", CLIENT, "ours", workshop.package, facts]


def _remarks(requests: list[str]) -> str:
    paths = (re.sub(r"/[0-9a-f]{32}/", "/…/", request.replace("/api/2.0/mlflow", "")) for request in requests)
    counted = Counter(re.sub(r"artifacts/.*", "artifacts/…", path) for path in paths)
    return "The tracked run sends " + ", ".join(f"{times} `{path}`" for path, times in counted.items()) + "."


@contextmanager
def server(workshop: Workshop, folder: Path, *, gated: bool = False, database: str | None = None) -> Iterator[str]:
    """A server with one worker on a free port of the loopback, with or without the gate; gives its address."""
    say(f"starting {'the gated server' if gated else 'an MLflow server'}")
    with server_in(workshop, folder, gated=gated, database=database) as started:
        yield started.uri


def server_in(workshop: Workshop, folder: Path, *, gated: bool = False, database: str | None = None) -> TrackingServer:
    """The same, not started yet. Its files, its log and its database are in *folder*, where no other one is named."""
    folder.mkdir(exist_ok=True)
    env = workshop.env | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BACKEND_STORE_URI": database or f"sqlite:///{folder}/server.db",
        "MLFLOW_ARTIFACTS_DESTINATION": (folder / "artifacts").as_uri(),
        "PATH": f"{workshop.server}{os.pathsep}{workshop.env['PATH']}",
    }
    plain = [workshop.server / "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    plain += ["--uvicorn-opts", "--loop uvloop --http httptools"]
    command = [workshop.gated_server / "repro", "server", "run"] if gated else plain
    return TrackingServer(command, env, folder / "server.log")
