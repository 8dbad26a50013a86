"""Starts a run with MLflow alone, asks the machinery what it lacks, and prints the error."""

import mlflow
from reproducibility import validate_required_tags

try:
    with mlflow.start_run(run_name="plain"):
        print("the experiment is running", flush=True)
        validate_required_tags()
except Exception as error:
    print(type(error).__name__, error)
