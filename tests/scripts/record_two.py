"""Records a run called "good" and a failed one."""

import mlflow
from reproducibility import tracked_run

VALUES = {"experiment_name": "validated", "seed": 1, "data": {"path": "data/penguins.csv"}}

with tracked_run(VALUES, run_name="good"):
    mlflow.log_metric("accuracy", 0.5)
    mlflow.log_metric("loss", float("nan"))
    mlflow.log_param("learned", "3")
try:
    with tracked_run(VALUES, run_name="failed"):
        raise ValueError("nothing learned")
except ValueError:
    pass
