"""Runs whose server comes and goes, and whose processes are killed: python scripts/durable.py WAY FOLDER.

Through files in FOLDER a way and its test wait for each other. What a run said is noted there after the call returned.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from threading import Thread

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from reproducibility import tracked_run

VALUES = {"experiment_name": "durable", "seed": 1, "data": {"path": "data/penguins.csv"}}
WORKERS, EACH = 4, 150
KILLS = 20


def wait_for(file: Path) -> None:
    until = time.monotonic() + 300
    while not file.exists():
        assert time.monotonic() < until, f"nobody made {file}"
        time.sleep(0.02)


def outage(folder: Path) -> None:
    """Say everything that a run can say, the second half of it while the server is away."""
    with tracked_run(VALUES, run_name="outage") as run:
        mlflow.log_metrics({"before": 1.0, "nan": float("nan"), "inf": float("inf")})
        (folder / "ready").touch()
        wait_for(folder / "stopped")
        for step in range(2500):
            mlflow.log_metric("loss", step / 7, step=step)
        mlflow.log_param("late", "param")
        mlflow.set_tag("late", "tag")
        mlflow.log_text("text", "deep/er/a b.txt")
        (folder / "log.txt").write_text("first")
        mlflow.log_artifact(folder / "log.txt")
        (folder / "log.txt").write_text("changed after it was logged")
        with mlflow.start_run(nested=True, run_name="child of the outage"):
            mlflow.log_metric("inner", 2.0)
        model = mlflow.initialize_logged_model("net")
        client = MlflowClient()
        client.log_model_artifact(model.model_id, folder / "log.txt")
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, 3)])
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        # What was said can be read, too.
        here = client.get_run(run.info.run_id).data
        assert (here.metrics["loss"], here.params["late"], here.tags["late"]) == (2499 / 7, "param", "tag")
        assert len(client.get_metric_history(run.info.run_id, "loss")) == 2500
        (folder / "through").touch()
        wait_for(folder / "go on")


def _log(run_id: str, worker: int, folder: Path) -> None:
    with open(folder / f"said {worker}", "w") as said:
        for step in range(EACH):
            mlflow.log_metric(f"worker {worker}", step / 3, step=step, run_id=run_id)
            print(step, file=said, flush=True)
            time.sleep(0.04)


def crowd(folder: Path) -> None:
    """Several processes log into one run."""
    context = get_context("fork")
    with tracked_run(VALUES, run_name="crowd") as run:
        (folder / "ready").touch()
        workers = [context.Process(target=_log, args=(run.info.run_id, n, folder)) for n in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0


def _log_until_killed(number: int, acknowledge: int) -> None:
    with tracked_run(VALUES, run_name=f"killed {number}"):
        for step in range(10**6):
            mlflow.log_metric("loss", step / 7, step=step)
            os.write(acknowledge, b".")


def killed(folder: Path) -> None:
    """Processes that are killed in the middle of what they say: each at another moment."""
    for number in range(KILLS):
        said, acknowledge = os.pipe()
        if (process := os.fork()) == 0:
            try:
                _log_until_killed(number, acknowledge)
            finally:
                os._exit(1)
        os.close(acknowledge)
        count = 0
        while count < 1 + 13 * number:
            got = os.read(said, 1 + 13 * number - count)
            assert got, "the process ended by itself"
            count += len(got)
        os.kill(process, signal.SIGKILL)
        while got := os.read(said, 4096):
            count += len(got)
        os.waitpid(process, 0)
        (folder / f"killed {number}").write_text(str(count))


def refused(folder: Path) -> None:
    """Another process says something that only the server can refuse, among points that the server takes."""

    def change_a_param(run_id: str) -> None:
        client = MlflowClient()
        client.log_metric(run_id, "worker", 1.0)
        client.log_param(run_id, "seed", "2")
        client.log_metric(run_id, "worker", 2.0, step=1)

    with tracked_run(VALUES, run_name="refused") as run:
        worker = get_context("fork").Process(target=change_a_param, args=(run.info.run_id,))
        worker.start()
        worker.join()
        mlflow.log_metric("own", 1.0)


def wrong(folder: Path) -> None:
    """What MLflow refuses at the call is refused at the call."""
    with tracked_run(VALUES, run_name="wrong"):
        for call in (
            lambda: mlflow.log_metric("a//b", 1.0),
            lambda: mlflow.log_metric("word", "many"),
            lambda: mlflow.log_param("seed", "2"),
            lambda: mlflow.log_params({f"p{n}": n for n in range(101)} | {"seed": 1}) or mlflow.log_param("p0", "x"),
            lambda: mlflow.set_tag("git_commit", "0" * 40),
            lambda: mlflow.log_text("text", "a#b.txt"),
        ):
            try:
                call()
            except Exception as error:
                print(f"{type(error).__name__}: {error}".partition("\n")[0])


def full(folder: Path) -> None:
    """Say more than the disk takes."""
    with tracked_run(VALUES, run_name="full"):
        for step in range(10**5):
            mlflow.log_metric("loss", step / 7, step=step)
            (folder / "said").write_text(str(step + 1))


def plain(folder: Path) -> None:
    """End with more than one attempt to say it."""
    with tracked_run(VALUES, run_name="left"):
        mlflow.log_metric("loss", 1.0)
        (folder / "ready").touch()
        wait_for(folder / "stopped")
        mlflow.log_metric("loss", 2.0, step=1)


def deleted(folder: Path) -> None:
    """Somebody deletes the journal while the run goes on."""
    from reproducibility.delivery.journal import root

    with tracked_run(VALUES, run_name="deleted") as run:
        mlflow.log_metric("loss", 1.0)
        shutil.rmtree(root() / run.info.run_id)
        mlflow.log_metric("loss", 2.0, step=1)


def late(folder: Path) -> None:
    """Threads log into a run while its block ends; after that, only notes are taken."""
    client, said, errors = MlflowClient(), [0, 0, 0], []

    def log(thread: int, run_id: str) -> None:
        try:
            while True:
                client.log_metric(run_id, f"thread {thread}", 1.0, step=said[thread])
                said[thread] += 1
        except Exception as error:
            errors.append(str(error))

    with tracked_run(VALUES, run_name="late") as run:
        threads = [Thread(target=log, args=(n, run.info.run_id)) for n in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
    for thread in threads:
        thread.join()
    client.set_tag(run.info.run_id, "note", "after the end")
    print(json.dumps([said, errors]))


def noted(folder: Path) -> None:
    """A run that waits takes notes, and nothing else."""
    with tracked_run(VALUES, run_name="noted") as run:
        mlflow.log_metric("loss", 1.0)
    client = MlflowClient()
    client.set_tag(run.info.run_id, "note", "after the end")
    try:
        client.log_metric(run.info.run_id, "loss", 2.0, step=1)
    except Exception as error:
        print(error)


def proxied(folder: Path) -> None:
    """Say something before and while a proxy answers in place of the server."""
    with tracked_run(VALUES, run_name="proxied") as run:
        for step in range(100):
            mlflow.log_metric("loss", step / 7, step=step)
        mlflow.get_run(run.info.run_id)  # ships what was said so far
        (folder / "ready").touch()
        wait_for(folder / "stopped")
        for step in range(100, 200):
            mlflow.log_metric("loss", step / 7, step=step)
        mlflow.log_text("said while a proxy answered", "late.txt")
        (folder / "through").touch()
        wait_for(folder / "go on")


WAYS: dict[str, Callable[[Path], None]] = {
    way.__name__: way for way in (outage, crowd, killed, refused, wrong, full, plain, deleted, late, noted, proxied)
}


if __name__ == "__main__":
    WAYS[sys.argv[1]](Path(sys.argv[2]))
