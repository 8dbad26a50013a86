"""One side of the delivery benchmark, in an environment of its own: a line in is a command, a line out what came of it.

python delivery_client.py tracked|plain|null

tracked: a tracked run of the project. plain: a run with MLflow alone. null: the same with a store that does nothing, so
that only MLflow's own code is left. The commands: begin, log POINTS, send POINTS, end, cut PART, sync, whole.
"""

import json
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Run, RunData, RunInfo
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.rest_utils import MlflowHostCreds

CONFIG = {"experiment_name": "benchmark", "seed": 1, "data": {"path": "data/penguins.csv"}}
BATCH = 1000
block = ExitStack()
logged = 0


class NullStore(RestStore):
    """MLflow's client of a server, which makes every request and sends none."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__(lambda: MlflowHostCreds("null://"))

    def _call_endpoint(self, *_: object, **__: object) -> None:
        pass

    def create_run(self, *_: object, **__: object) -> Run:
        return self.get_run()

    def get_run(self, *_: object) -> Run:
        return Run(RunInfo("0" * 32, "0", "", "RUNNING", 0, None, "active"), RunData())

    def update_run_info(self, *_: object, **__: object) -> RunInfo:
        return self.get_run().info


def begin() -> dict[str, Any]:
    global logged
    logged = 0
    if sys.argv[1] == "tracked":
        from reproducibility import tracked_run

        run = block.enter_context(tracked_run(CONFIG))
    else:
        run = block.enter_context(mlflow.start_run(experiment_id="0"))
    return {"run_id": run.info.run_id}


def log(points: str) -> dict[str, Any]:
    """Log so many points, one a call, and measure each call."""
    global logged
    seconds = []
    before = time.thread_time()
    for step in range(logged, logged + int(points)):
        started = time.perf_counter()
        mlflow.log_metric("loss", step / 7, step=step)
        seconds.append(time.perf_counter() - started)
    cpu = (time.thread_time() - before) / len(seconds)
    logged += len(seconds)
    slow = sorted(seconds)[len(seconds) * 99 // 100]
    return {"median": statistics.median(seconds), "slow": slow, "cpu": cpu, "peak": peak()}


def send(points: str) -> dict[str, Any]:
    """Send so many points in batches as large as MLflow takes them, and measure all of them together."""
    global logged
    client, run_id = MlflowClient(), mlflow.active_run().info.run_id
    started = time.perf_counter()
    for first in range(logged, logged + int(points), BATCH):
        now = int(time.time() * 1000)
        client.log_batch(run_id, [Metric("loss", step / 7, now, step) for step in range(first, first + BATCH)])
    logged += int(points)
    return {"seconds": time.perf_counter() - started}


def end() -> dict[str, Any]:
    block.close()
    return {}


def cut(part: str) -> dict[str, Any]:
    """End the run, and be killed when the server has that part of its points."""
    from reproducibility.delivery.journal import Journal

    journal = Journal.find(mlflow.active_run().info.run_id)
    enough = float(part) * journal.bytes_waiting()

    def watch() -> None:
        while sum(journal.shipped().values()) < enough:
            time.sleep(0.05)
        answer({"peak": peak()})
        os.kill(os.getpid(), 9)

    threading.Thread(target=watch, daemon=True).start()
    block.close()
    raise RuntimeError("the run ended before it was cut")


def sync() -> dict[str, Any]:
    """Ship what earlier processes left behind, as `repro sync` does."""
    from reproducibility.delivery import sync

    started = time.perf_counter()
    (outcome,) = sync.sync()
    if outcome.exit_status:
        raise RuntimeError(outcome.result)
    return {"seconds": time.perf_counter() - started, "peak": peak()}


def whole() -> dict[str, Any]:
    """Record a run with a metric, a param and a file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "result.txt")
        file.write_text("result")
        with mlflow.start_run(experiment_id="0", tags={"kind": "whole"}):
            mlflow.log_params({"rate": 0.1, "depth": 3})
            mlflow.log_metrics({"accuracy": 0.9, "loss": 0.1})
            mlflow.log_artifact(str(file))
    return {}


def peak() -> int:
    """The most memory that this process had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def answer(result: dict[str, Any]) -> None:
    results.write(json.dumps(result) + "\n")
    results.flush()


def main() -> None:
    if sys.argv[1] == "null":
        from mlflow.tracking._tracking_service.utils import _tracking_store_registry

        _tracking_store_registry.register("null", NullStore)
        mlflow.set_tracking_uri("null://")
    commands: dict[str, Callable[..., dict[str, Any]]] = {
        command.__name__: command for command in (begin, log, send, end, cut, sync, whole)
    }
    for line in sys.stdin:
        name, *arguments = line.split()
        answer(commands[name](*arguments))


if __name__ == "__main__":
    results = os.fdopen(os.dup(1), "w")
    sys.stdout = open(os.devnull, "w")  # MLflow prints the address of each run
    main()
