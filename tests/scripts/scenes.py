"""What the block of a `with tracked_run` can do to its run. Each scene is a function; its run has the same name."""

import json
import os
import random
import signal
from collections.abc import Callable

import mlflow
import numpy as np
from reproducibility import PROJECT_ROOT, Refused, Violation, tracked_run

VALUES = {"experiment_name": "scenes", "seed": 1, "data": {"path": "data/penguins.csv"}}
TABLE = PROJECT_ROOT / "data" / "penguins.csv"
SCENES: dict[str, Callable[[mlflow.ActiveRun], None]] = {}


def scene(block: Callable[[mlflow.ActiveRun], None]) -> Callable[[mlflow.ActiveRun], None]:
    SCENES[block.__name__] = block
    return block


def set_usual_signals() -> None:
    """Handle signals as in a terminal: a parent process such as nohup may have ignored them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


@scene
def empties_a_tag(run: mlflow.ActiveRun) -> None:
    mlflow.MlflowClient().set_tag(run.info.run_id, "author", "")


@scene
def removes_a_tag(run: mlflow.ActiveRun) -> None:
    mlflow.MlflowClient().delete_tag(run.info.run_id, "git_remote")


@scene
def changes_a_tag(run: mlflow.ActiveRun) -> None:
    mlflow.MlflowClient().set_tag(run.info.run_id, "git_commit", "f" * 40)


@scene
def changes_mlflows_own_tag(run: mlflow.ActiveRun) -> None:
    mlflow.set_tag("mlflow.user", "somebody else")


@scene
def raises(run: mlflow.ActiveRun) -> None:
    token = "ghp_" + "a1B2c3D4e5F6" * 3
    raise ValueError(f"no rows for ada@example.org? see https://ada:secret@example.org/a?b=1 {token}")


@scene
def raises_what_no_store_can_write(run: mlflow.ActiveRun) -> None:
    raise ValueError("\udc80 \0")


@scene
def raises_deep_down(run: mlflow.ActiveRun) -> None:
    json.loads("{")


@scene
def is_refused_inside(run: mlflow.ActiveRun) -> None:
    raise Refused([Violation("data", "has no rows", "add some")])


@scene
def exits_as_if_all_were_well(run: mlflow.ActiveRun) -> None:
    raise SystemExit(0)


@scene
def exits_with_3(run: mlflow.ActiveRun) -> None:
    raise SystemExit(3)


@scene
def ends_itself_and_raises(run: mlflow.ActiveRun) -> None:
    mlflow.end_run()
    raise ValueError("after the end")


@scene
def ends_itself_and_lacks_a_tag(run: mlflow.ActiveRun) -> None:
    mlflow.end_run()
    empties_a_tag(run)


@scene
def ends_itself(run: mlflow.ActiveRun) -> None:
    mlflow.end_run()


@scene
def ends_itself_as_failed(run: mlflow.ActiveRun) -> None:
    mlflow.end_run("FAILED")


@scene
def deletes_itself(run: mlflow.ActiveRun) -> None:
    mlflow.MlflowClient().delete_run(run.info.run_id)


@scene
def leaves_a_run_open(run: mlflow.ActiveRun) -> None:
    mlflow.start_run(run_name="left open", nested=True)


@scene
def starts_another_run(run: mlflow.ActiveRun) -> None:
    try:
        mlflow.end_run()
    except mlflow.MlflowException:
        mlflow.start_run(run_name="another")


@scene
def logs_more_params(run: mlflow.ActiveRun) -> None:
    mlflow.log_param("learned", "3")
    mlflow.set_tag("mood", "good")


@scene
def draws(run: mlflow.ActiveRun) -> None:
    mlflow.log_metrics({"random": random.random(), "numpy": float(np.random.rand())})


@scene
def draws_again(run: mlflow.ActiveRun) -> None:
    draws(run)


@scene
def changes_the_data(run: mlflow.ActiveRun) -> None:
    with TABLE.open("a") as file:
        file.write("Adelie,Dream,1,1,1,1,male,2007\n")


@scene
def deletes_the_data(run: mlflow.ActiveRun) -> None:
    TABLE.unlink()


@scene
def presses_ctrl_c(run: mlflow.ActiveRun) -> None:
    signal.raise_signal(signal.SIGINT)


@scene
def is_terminated(run: mlflow.ActiveRun) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@scene
def is_terminated_twice(run: mlflow.ActiveRun) -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


@scene
def loses_its_terminal(run: mlflow.ActiveRun) -> None:
    os.kill(os.getpid(), signal.SIGHUP)


@scene
def has_a_child(run: mlflow.ActiveRun) -> None:
    with tracked_run(VALUES, run_name="child"):
        pass


@scene
def raises_after_its_child(run: mlflow.ActiveRun) -> None:
    with mlflow.start_run(run_name="child of a failed run", nested=True):
        mlflow.log_metric("accuracy", 1.0)
    with tracked_run(VALUES, run_name="tracked child of a failed run"):
        mlflow.log_metric("accuracy", 1.0)
    raise ValueError("the run's own")


@scene
def has_a_broken_child(run: mlflow.ActiveRun) -> None:
    with tracked_run(VALUES, run_name="broken child"):
        raise ValueError("the child's")
