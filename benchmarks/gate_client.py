"""One side of the gate benchmark: a line in is a crowd of clients that each record runs, a line out what they took.

python gate_client.py CLIENTS RUNS FACTS
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param


def record(facts: dict, folder: Path) -> None:
    """Record a run in as few requests as the client can."""
    client = MlflowClient()
    run_id = client.create_run("0", tags=facts["tags"]).info.run_id
    now = int(time.time() * 1000)
    metrics = [Metric(key, value, now, step) for key, value in facts["metrics"].items() for step in range(4)]
    client.log_batch(run_id, metrics, [Param(key, value) for key, value in facts["params"].items()])
    client.log_artifacts(run_id, str(folder), "reproducibility")
    client.set_terminated(run_id)
    if client.get_run(run_id).info.status != "FINISHED":
        raise RuntimeError(f"run {run_id} is not finished")


def main(clients: str, runs: str, facts_file: str) -> None:
    results = os.fdopen(os.dup(1), "w")
    sys.stdout = open(os.devnull, "w")
    facts, folder = json.loads(Path(facts_file).read_text()), Path(facts_file).parent / "reproducibility"
    for _ in sys.stdin:
        started = time.perf_counter()
        with ThreadPoolExecutor(int(clients)) as crowd:
            for done in [crowd.submit(record, facts, folder) for _ in range(int(runs))]:
                done.result()
        seconds = time.perf_counter() - started
        results.write(json.dumps({"seconds": seconds, "requests": [], "recorded": {}}) + "\n")
        results.flush()
    os._exit(0)  # nothing is left to do, and Python takes a second to forget all of MLflow


if __name__ == "__main__":
    main(*sys.argv[1:])
