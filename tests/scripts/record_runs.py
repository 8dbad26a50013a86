"""Record runs for each line of standard input until it ends, and answer each with the line ``recorded``.

A line is JSON: [folder of packages, [name of a run, ...]]. Words in a name say what happens inside the run. The process
stays while the project around it is changed, because the start of Python and the import of MLflow take seconds.
"""

import json
import os
import re
import sys
import time
from pathlib import Path

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
    factor = float(re.search("^FACTOR = (.*)$", Path(__file__).read_text(), re.MULTILINE)[1])
    config = load("configs/test.yaml", TestConfig, [name[4:]] if name.startswith("set ") else [])
    with tracked_run(config, run_name=name) as run:
        noise = 1e-12 if "noisy" in name else 0.0
        steps = 5 if "short" in name else 20
        history = [("loss", factor / (1 + step) + noise * (step > 7), step) for step in range(steps)]
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


for line in sys.stdin:
    packages, names = json.loads(line)
    sys.path.insert(0, packages)
    for name in names:
        try:
            record(name)
        except ValueError:
            pass
    sys.path.remove(packages)
    print("recorded", flush=True)
