"""Imports the machinery before MLflow, and starts a plain run."""

from reproducibility import tracked_run  # noqa: F401, I001
import mlflow

mlflow.start_run(run_name="machinery first")
mlflow.end_run("FAILED")
