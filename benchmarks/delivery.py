"""What a run says on its way to the server: the cost of a call, a million points, and the requests of a whole run."""

import json
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from relay import Relay

from .dialogue import Dialogue
from .stopwatch import Timing, say, seconds_of, take_turns
from .table import AtMost, AtMostSeconds, Faster, Row, Section
from .tracked_run import server, server_in
from .workshop import Workshop

CLIENT = Path(__file__).with_name("delivery_client.py")
ROUNDS, OUTAGES = 7, 3
CALLS, BARE_CALLS, OUTAGE_CALLS = 5_000, 100, 10_000
SLOW_S = 30
POINTS, FEW_POINTS, BATCHES = 1_000_000, 100_000, 100_000
CUT_AT = 0.2
SLOWEST = "the slowest of a hundred calls"
TRAIN_REQUESTS = 30
REQUEST = re.compile(r'"[A-Z]+ /api/\S+ HTTP')
METHOD = f"""\
Against an `mlflow server` with one worker on loopback. *MLflow over HTTP* is a run of MLflow alone; *MLflow that sends
nothing* is the same with a store whose requests are made and not sent: what is left is MLflow's own code. Each call of
`mlflow.log_metric` is timed, and a round is the median of its calls. For the outage, a relay in front of the server
refuses connections, or holds every answer back for {SLOW_S} seconds, while a run logs. The {POINTS:,} points are logged
one a call into one tracked run while its server is away. Then the server comes back, the run ends, its process is
killed when the server has a fifth of the points, and `repro sync` ships what is left. That the server then has each
point once, and the run's end, is checked. Requests are counted in the log of the server."""


def measure(workshop: Workshop) -> Section:
    """Measure one thing after the other, and return the rows."""
    folder = workshop.folder / "delivery"
    folder.mkdir()
    with server(workshop, folder / "calls") as uri:
        rows = [*calls(workshop, uri), *outages(workshop, uri)]
    return Section("Delivery", METHOD, [*rows, *million(workshop, folder / "million"), *requests(workshop, folder)])


def side(workshop: Workshop, kind: str, uri: str) -> Dialogue:
    """A process that logs into a run of this kind: tracked, plain or null."""
    programs, env = (workshop.child, workshop.child_env) if kind == "tracked" else (workshop.bare, workshop.env)
    # The end of a run goes on as long as there is progress.
    env = env | {"MLFLOW_TRACKING_URI": uri, "REPRODUCIBILITY_PATIENCE": "60"}
    return Dialogue(kind, [programs / "python", CLIENT, kind], env)


def calls(workshop: Workshop, uri: str) -> list[Row]:
    """Let tracked runs, runs of MLflow alone, and runs that send nothing take turns to log points, one a call."""

    def of(client: Dialogue, points: int) -> Callable[[], dict[str, float]]:
        def run() -> dict[str, float]:
            client.ask("begin")
            taken = client.ask(f"log {points}")
            client.ask("end")  # a tracked run now waits for its server, so that it does not do so in another's turn
            return {
                client.name: taken["median"],
                f"{client.name}, slow": taken["slow"],
                f"{client.name}, CPU": taken["cpu"],
            }

        return run

    few = workshop.size(CALLS, smoke=50)
    with ExitStack() as stack:
        clients = [stack.enter_context(side(workshop, kind, uri)) for kind in ("tracked", "plain", "null")]
        sides = [of(client, points) for client, points in zip(clients, (few, min(few, BARE_CALLS), few), strict=True)]
        for once in sides:
            once()
        times = take_turns("log_metric", sides, workshop.size(ROUNDS))
    what, http, nothing = "`mlflow.log_metric` in a tracked run", "MLflow over HTTP", "MLflow that sends nothing"
    return [
        Row(what, times["tracked"], http, times["plain"], Faster(50)),
        Row(what, times["tracked"], nothing, times["null"], AtMost(2)),
        Row(f"{what}, {SLOWEST}", times["tracked, slow"], nothing, times["null, slow"]),
        Row(f"{what}, CPU", times["tracked, CPU"], nothing, times["null, CPU"], AtMost(2)),
    ]


def outages(workshop: Workshop, uri: str) -> list[Row]:
    """Log into tracked runs while the server answers, is away, and answers late."""
    points = workshop.size(OUTAGE_CALLS, smoke=50)
    with Relay(uri) as relay, side(workshop, "tracked", relay.uri) as client:

        def run() -> dict[str, float]:
            taken: dict[str, float] = {}
            for name, begin in {
                "there": relay.open,
                "away": relay.shut,
                "slow": lambda: (relay.open(), relay.delay(SLOW_S)),
            }.items():
                relay.open()
                client.ask("begin")
                begin()
                measured = client.ask(f"log {points}")
                taken |= {name: measured["median"], f"{name}, slow": measured["slow"]}
                relay.open()
                client.ask("end")
            return taken

        run()
        times = take_turns("log_metric in an outage", [run], workshop.size(OUTAGES))
    there = "while the server answers"
    states = {"away": "while the server is away", "slow": f"while the server answers after {SLOW_S} s"}
    return [
        row
        for name, words in states.items()
        for row in (
            Row(f"`mlflow.log_metric` {words}", times[name], there, times["there"], AtMostSeconds(0.001)),
            Row(f"the same, {SLOWEST}", times[f"{name}, slow"], there, times["there, slow"]),
        )
    ]


def million(workshop: Workshop, folder: Path) -> list[Row]:
    """Log very many points without the server, and ship them: cut in the middle, and resumed."""
    few, many = workshop.size(FEW_POINTS, smoke=4_000), workshop.size(POINTS, smoke=20_000)
    with server(workshop, folder) as uri, Relay(uri) as relay:
        with side(workshop, "plain", relay.uri) as peer:
            peer.ask("begin")
            batches = workshop.size(BATCHES, smoke=2_000)
            bare_s = peer.ask(f"send {batches}")["seconds"] * 1000 / batches
            peer.ask("end")
        with side(workshop, "tracked", relay.uri) as client:
            run_id = client.ask("begin")["run_id"]
            relay.shut()
            say(f"logging {many:,} points")
            first = client.ask(f"log {few}")["peak"]
            for _ in range(many // few - 1):
                last = client.ask(f"log {few}")["peak"]
            journal = workshop.project / ".cache" / "journal" / run_id
            size = (journal / "run.log").stat().st_size
            relay.open()
            while_shipped = client.ask(f"cut {CUT_AT}")["peak"]
            client.ended()
        shipped = json.loads((journal / "shipped.json").read_bytes())["run.log"]
        say(f"{shipped / size:.0%} were shipped; shipping what is left")
        with side(workshop, "tracked", relay.uri) as client:
            synced = client.ask("sync")
        require_whole(folder / "server.db", run_id, many)
        stored = (folder / "server.db").stat().st_size
    rest = many * (1 - shipped / size)
    after_few = f"after {few:,}"
    return [
        Row(f"memory of the process after {many:,} points, in bytes", last, after_few, first, AtMost(1.1)),
        Row("memory of this process while it ships them, in bytes", while_shipped, after_few, first, AtMost(1.1)),
        Row("memory of `repro sync` that ships the rest, in bytes", synced["peak"], after_few, first, AtMost(1.1)),
        Row("bytes on the disk for a point", size // many, "the server's database", stored // many),
        Row(
            "shipping 1,000 points, `repro sync`",
            Timing((synced["seconds"] * 1000 / rest,)),
            "`log_batch` of 1,000 points, MLflow over HTTP",
            Timing((bare_s,)),
            AtMost(1.2),
        ),
    ]


def require_whole(database: Path, run_id: str, points: int) -> None:
    """Raise RuntimeError unless the run is FINISHED and has each of its points once."""
    with closing(sqlite3.connect(database)) as connection:
        status = connection.execute("SELECT status FROM runs WHERE run_uuid = ?", [run_id]).fetchone()
        query = "SELECT count(*), count(DISTINCT step), min(step), max(step) FROM metrics WHERE run_uuid = ?"
        found = connection.execute(query, [run_id]).fetchone()
    if (status, found) != (("FINISHED",), (points, points, 0, points - 1)):
        raise RuntimeError(f"run {run_id} is {status} with {found} points, and not FINISHED with {points:,}")


def requests(workshop: Workshop, folder: Path) -> list[Row]:
    """Count what a server gets of a whole run, and of the sample experiment's command."""
    counts: dict[str, int] = {}
    with server_in(workshop, folder / "requests") as plain:
        for kind in ("tracked", "plain"):
            with side(workshop, kind, plain.uri) as client:
                before = plain.log.stat().st_size
                client.ask("whole")
            counts[kind] = len(asked(plain.log, before))
    with server_in(workshop, folder / "training", gated=True) as gated:
        few_trees = ["--set=model.n_estimators=5"] if workshop.smoke else []
        train = [workshop.child / "repro", "train", "configs/experiment.yaml", *few_trees]
        before = gated.log.stat().st_size
        seconds_of(train, workshop.project, workshop.child_env | {"MLFLOW_TRACKING_URI": gated.uri})
        training = len(asked(gated.log, before))
    plain_run = "HTTP requests of a run with MLflow's own functions, in the project's environment"
    trained = "HTTP requests of `repro train`, with the validation of the run"
    return [
        Row(plain_run, counts["tracked"], "MLflow alone", counts["plain"], AtMost(1)),
        Row(trained, training, "the limit", TRAIN_REQUESTS, AtMost(1)),
    ]


def asked(log: Path, offset: int) -> list[str]:
    """Return the requests to MLflow's interface in the *log* of a server, behind *offset*."""
    time.sleep(0.5)  # the server writes its log after its answer
    return REQUEST.findall(log.read_bytes()[offset:].decode())
