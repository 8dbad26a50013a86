"""The gate against the same MLflow server without it: one client, and sixteen at once on PostgreSQL."""

import os
from contextlib import ExitStack
from pathlib import Path

from postgres_server import postgres_server, programs

from .stopwatch import take_turns
from .table import AtMost, Row, Section
from .tracked_run import ARTIFACT_BYTES, CLIENT, Client, ours_command, server
from .workshop import Workshop

CROWD = Path(__file__).with_name("gate_client.py")
ROUNDS, CROWD_ROUNDS = 15, 5
CLIENTS, RUNS = 16, 48
AIM = AtMost(1.05)
CROWD_RUNS = f"{RUNS} runs of {CLIENTS} clients at once, on PostgreSQL"
WITHOUT = "the same server without the gate"
METHOD = f"""\
Both are `mlflow server` with one worker on loopback, uvloop and httptools, each on a database and a folder of its own.
`repro server run` starts the one with the gate. The clients know nothing of the project and send the same requests to
both: the *batch* side above for one client, and {RUNS} runs of {CLIENTS} clients at once for the crowd. When a run
ends, the gate reads its evidence and compares it with its digests; these times include that."""


def measure(workshop: Workshop) -> Section:
    """Start both servers, on SQLite and on PostgreSQL, and let them take turns."""
    folder = workshop.folder / "gate"
    folder.mkdir()
    (folder / "confusion_matrix.png").write_bytes(os.urandom(ARTIFACT_BYTES))
    facts = folder / "facts.json"
    with ExitStack() as stack:
        gated = stack.enter_context(server(workshop, folder / "gated", gated=True))
        plain = stack.enter_context(server(workshop, folder / "plain"))
        with Client("facts", ours_command(workshop, facts), workshop.child_env | {"MLFLOW_TRACKING_URI": gated}):
            pass  # its first run writes down what the others record
        batch = [workshop.bare / "python", CLIENT, "batch", facts]
        ours, theirs = (
            stack.enter_context(Client(name, batch, at(workshop, uri)))
            for name, uri in {"gate": gated, "no gate": plain}.items()
        )
        times = take_turns("gate", [ours, theirs], workshop.size(ROUNDS))
        in_a_crowd = crowd(workshop, facts, gated, plain) if workshop.smoke else on_postgresql(workshop, folder, facts)
    what = "a run of one client, from before it is created to FINISHED"
    rows = [
        Row(what, times["gate"], WITHOUT, times["no gate"], AIM),
        Row("HTTP requests of this run", len(ours.requests), "the same", len(theirs.requests), AIM),
        in_a_crowd,
    ]
    return Section("The gate", METHOD, rows)


def on_postgresql(workshop: Workshop, folder: Path, facts: Path) -> Row:
    """Start both servers on PostgreSQL, and let the crowd in."""
    if (found := programs()) is None:
        return Row(CROWD_RUNS, None, WITHOUT, missing="PostgreSQL is not installed here")
    with ExitStack() as stack:
        # A database server for each, so that the rows of one are not the burden of the other.
        addresses = [stack.enter_context(postgres_server(found)) for _ in range(2)]
        gated = stack.enter_context(server(workshop, folder / "gated crowd", gated=True, database=addresses[0]))
        plain = stack.enter_context(server(workshop, folder / "plain crowd", database=addresses[1]))
        return crowd(workshop, facts, gated, plain)


def crowd(workshop: Workshop, facts: Path, gated: str, plain: str) -> Row:
    """Let all clients in at once, at each of the two addresses in turn."""
    clients, runs = workshop.size(CLIENTS, smoke=2), workshop.size(RUNS, smoke=2)
    command = [workshop.bare / "python", CROWD, str(clients), str(runs), facts]
    with ExitStack() as stack:
        sides = [
            stack.enter_context(Client(name, command, at(workshop, uri)))
            for name, uri in {"gate, crowd": gated, "no gate, crowd": plain}.items()
        ]
        times = take_turns("gate, crowd", sides, workshop.size(CROWD_ROUNDS))
    return Row(CROWD_RUNS, times["gate, crowd"], WITHOUT, times["no gate, crowd"], AIM)


def at(workshop: Workshop, uri: str) -> dict[str, str]:
    return workshop.env | {"MLFLOW_TRACKING_URI": uri}
