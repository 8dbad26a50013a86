"""Records eight runs in eight processes that reach the store at the same moment. Prints their exit statuses as JSON."""

import json
import multiprocessing
from typing import Any

import mlflow  # noqa: F401 - once, and not once in each process
from reproducibility import tracked_run

VALUES = {"experiment_name": "stored", "seed": 1, "data": {"path": "data/penguins.csv"}}


def record(number: int, barrier: Any) -> None:
    barrier.wait()
    with tracked_run(VALUES, run_name=f"run {number}"):
        pass


if __name__ == "__main__":
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    barrier = context.Barrier(8)
    processes = [context.Process(target=record, args=(number, barrier)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(json.dumps([process.exitcode for process in processes]))
