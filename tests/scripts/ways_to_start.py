"""Starts runs in every way, in one process, and makes a commit in between. The argument is the project's folder.

The imports stand where a user would have them: MLflow first, the machinery only when it is needed.
"""

import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress

import mlflow
from sklearn.linear_model import LogisticRegression

warnings.simplefilter("always")


def is_refused(start: Callable[[], object]) -> None:
    try:
        start()
    except mlflow.MlflowException as error:
        print(error)
    else:
        raise AssertionError("the run was not refused")


def plain(**options: object) -> None:
    with mlflow.start_run(**options):
        pass


is_refused(lambda: plain(run_name="plain"))
is_refused(lambda: mlflow.MlflowClient().create_run("0", run_name="by the client"))
mlflow.sklearn.autolog(log_models=False)
with suppress(mlflow.MlflowException):
    LogisticRegression().fit([[0.0], [1.0]], [0, 1])
mlflow.sklearn.autolog(disable=True)
subprocess.run(["git", "-C", sys.argv[1], "commit", "--quiet", "--allow-empty", "--message=Meanwhile"], check=True)
is_refused(lambda: plain(run_name="after a commit"))

from reproducibility import tracked_run  # noqa: E402

with tracked_run({"experiment_name": "tracked", "seed": 42, "data": {"path": "data/penguins.csv"}}, run_name="tracked"):
    plain(run_name="inside a tracked run", nested=True)
is_refused(lambda: plain(experiment_id="0", run_name="after a tracked run"))
