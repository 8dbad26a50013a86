"""Records one run of each kind, then waits inside the last one: python scripts/record.py"""

import time

import mlflow
from reproducibility import tracked_run

VALUES = {"experiment_name": "first", "seed": 1, "data": {"path": "data/penguins.csv"}}


def record(name: str, **more: str) -> None:
    with tracked_run(VALUES | more, run_name=name):
        mlflow.log_metric("a", 1.0)


record("good")
record("good elsewhere", experiment_name="second")
record("altered")
for name in ("in s3", "in dbfs", "in hdfs", "of plain MLflow"):
    record(name, experiment_name="third")
try:
    with tracked_run(VALUES, run_name="failed"):
        raise ValueError("no rows")
except ValueError:
    pass
with tracked_run(VALUES, run_name="killed"):
    with mlflow.start_run(nested=True, run_name="killed child"):
        print("ready", flush=True)
        time.sleep(600)
