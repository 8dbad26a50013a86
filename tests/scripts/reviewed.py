"""A tiny experiment that is reviewed: python scripts/reviewed.py --config configs/reviewed.yaml"""

import os
import random

import mlflow
from reproducibility import Config, Section, experiment_command, tracked_run


class Data(Section):
    path: str


class Reviewed(Config):
    experiment_name: str
    seed: int
    data: Data
    rate: float
    quirk: str


def run_experiment(config: Reviewed) -> str:
    """A tiny experiment. With the quirk `chance` its second step is drawn from no seed."""
    with tracked_run(config) as run:
        for step in range(3):
            chance = os.urandom(4)[0] / 7 + 1 if config.quirk == "chance" and step == 1 else 0
            mlflow.log_metric("loss", random.random() * config.rate + chance, step=step)
        if config.quirk == "logs a param":
            mlflow.log_param("learned", "7")
    return run.info.run_id


if __name__ == "__main__":
    experiment_command(Reviewed, run_experiment)()
