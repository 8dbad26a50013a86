"""A small experiment to sweep: python scripts/train.py --config configs/experiment.yaml

While the file that HOLD names exists, a trial that has logged its metric waits; it leaves a file beside that one.
"""

import os
import time
from pathlib import Path
from typing import Annotated, Literal

import mlflow
from pydantic import Field, model_validator
from reproducibility import Config, Section, experiment_command, tracked_run


class Data(Section):
    path: str


class Model(Section):
    rate: Annotated[float, Field(gt=0, le=1)]
    depth: Annotated[int, Field(ge=1)] | None
    kind: Literal["plain", "fancy"]


class Small(Config):
    experiment_name: str
    seed: int
    data: Data
    model: Model

    @model_validator(mode="after")
    def _fits(self) -> "Small":
        if self.model.rate > 0.25 and self.model.depth != 2:
            raise ValueError("a large rate needs a depth of 2")
        return self


def run_experiment(config: Small) -> str:
    """A small experiment."""
    with tracked_run(config) as run:
        mlflow.log_metric("loss", (config.model.rate - 0.3) ** 2 + (config.model.depth or 0) + config.seed * 1e-3)
        if hold := os.environ.get("HOLD"):
            Path(f"{hold}.{run.info.run_id}").touch()
            while Path(hold).exists():
                time.sleep(0.05)
        if config.model.kind == "fancy" and config.model.rate < 0.15:
            raise ValueError("a fancy model needs a larger rate")
        with mlflow.start_run(run_name="inside", nested=True):
            mlflow.log_metric("inner", 1.0)
    return run.info.run_id


if __name__ == "__main__":
    experiment_command(Small, run_experiment)()
