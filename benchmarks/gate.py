"""The gate against the same MLflow server without it: one client, and sixteen at once on PostgreSQL."""

import os
from contextlib import ExitStack
from pathlib import Path

from postgres_server import postgres_server, programs

from .stopwatch import take_turns
from .table import AtMost, Row, Section
from .tracked_run import ARTIFACT_BYTES, CLIENT, Client, server
from .workshop import Workshop

CROWD = Path(__file__).with_name("gate_client.py")
ROUNDS, CROWD_ROUNDS = 15, 5
CLIENTS, RUNS = 16, 48
AIM = AtMost(1.05)
METHOD = f"""\
Both are `mlflow server` with one worker on loopback, uvloop and httptools, each on a database and a folder of its own;
one is started by `repro server run`. The clients know nothing of the project and send both the same requests: the *batch*
side above for one client, and {RUNS} runs of {CLIENTS} clients at once for the crowd. When a run ends the gate reads
its evidence and compares it with its digests, which is in these times."""


def measure(workshop: Workshop) -> Section:
    """Start both servers, on SQLite and on PostgreSQL, and let them take turns."""
    folder = workshop.folder / "gate"
    folder.mkdir()
    (folder / "confusion_matrix.png").write_bytes(os.urandom(ARTIFACT_BYTES))
    facts = folder / "facts.json"
    with ExitStack() as stack:
        gated = stack.enter_context(server(workshop, folder / "gated", gated=True))
        plain = stack.enter_context(server(workshop, folder / "plain"))
        with Client("facts", [workshop.child / "python", CLIENT, "ours", workshop.package, facts], at(workshop, gated)):
            pass  # its first run says what the others record again
        batch = [workshop.bare / "python", CLIENT, "batch", facts]
        ours, theirs = (
            stack.enter_context(Client(name, batch, at(workshop, uri)))
            for name, uri in {"gate": gated, "no gate": plain}.items()
        )
        times = take_turns("gate", [ours, theirs], ROUNDS)
    what = "a run of one client, from before it is created to FINISHED"
    rows = [
        Row(what, times["gate"], "the same server without the gate", times["no gate"], AIM),
        Row("HTTP requests of this run", len(ours.requests), "the same", len(theirs.requests), AIM),
        crowd(workshop, folder, facts),
    ]
    return Section("The gate", METHOD, rows)


def crowd(workshop: Workshop, folder: Path, facts: Path) -> Row:
    """Let sixteen clients in at once, on PostgreSQL."""
    what, peer = f"{RUNS} runs of {CLIENTS} clients at once, on PostgreSQL", "the same server without the gate"
    if (found := programs()) is None:
        return Row(what, None, peer, missing="PostgreSQL is not installed here")
    with ExitStack() as stack:
        # A database server for each, so that the rows of one are not the burden of the other.
        addresses = [stack.enter_context(postgres_server(found)) for _ in range(2)]
        gated = stack.enter_context(server(workshop, folder / "gated crowd", gated=True, database=addresses[0]))
        plain = stack.enter_context(server(workshop, folder / "plain crowd", database=addresses[1]))
        command = [workshop.bare / "python", CROWD, str(CLIENTS), str(RUNS), facts]
        sides = [
            stack.enter_context(Client(name, command, at(workshop, uri)))
            for name, uri in {"gate, crowd": gated, "no gate, crowd": plain}.items()
        ]
        times = take_turns("gate, crowd", sides, CROWD_ROUNDS)
    return Row(what, times["gate, crowd"], peer, times["no gate, crowd"], AIM)


def at(workshop: Workshop, uri: str) -> dict[str, str]:
    return workshop.env | {"MLFLOW_TRACKING_URI": uri}
