"""Record one run for each argument, which is the name of the run; words in the name say what happens inside it."""

import os
import sys
import time

import mlflow
from mlflow.entities import Metric
from reproducibility import Config, Section, load, tracked_run

FACTOR = 1.0


class Model(Section):
    depth: int | float | str | None
    name: str


class Data(Section):
    path: str


class TestConfig(Config):
    experiment_name: str
    seed: int
    data: Data
    model: Model


def record(name: str) -> None:
    config = load("configs/test.yaml", TestConfig, [name[4:]] if name.startswith("set ") else [])
    with tracked_run(config, run_name=name) as run:
        noise = 1e-12 if "noisy" in name else 0.0
        steps = 5 if "short" in name else 20
        history = [("loss", FACTOR / (1 + step) + noise * (step > 7), step) for step in range(steps)]
        history += [("constant", 3.0, 0), ("undefined", float("nan"), 0), ("system/clock", time.time(), 0)]
        metrics = [Metric(key, value, 1_700_000_000_000 + step, step) for key, value, step in history]
        mlflow.MlflowClient().log_batch(run.info.run_id, metrics=metrics)
        if "learned" in name:
            mlflow.log_param("learned", name)
        if "sweep" in name:
            for rate in (1, 2):
                with mlflow.start_run(run_name=f"child {rate}", nested=True):
                    mlflow.log_param("rate", rate)
                    mlflow.log_metric("loss", rate)
        if "raise" in name:
            raise ValueError("nothing learned")
        if "killed" in name:
            os._exit(0)


for name in sys.argv[1:]:
    try:
        record(name)
    except ValueError:
        pass
