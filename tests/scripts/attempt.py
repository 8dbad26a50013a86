"""The standard experiment without its training. Variables: TAGS (as JSON), and CONFIG for values instead of a file."""

import atexit
import json
import os
import sys

import click
from penguin_classifier.config import ExperimentConfig
from reproducibility import experiment_command, tracked_run

atexit.register(lambda: print("mlflow was imported" if "mlflow" in sys.modules else "mlflow was not imported"))


def run_experiment(config: ExperimentConfig | dict) -> str:
    with tracked_run(config, tags=json.loads(os.environ.get("TAGS", "{}"))) as run:
        print("the experiment is running")
    return run.info.run_id


@click.command()
def from_values() -> None:
    run_experiment(json.loads(os.environ["CONFIG"]))


if __name__ == "__main__":
    (from_values if "CONFIG" in os.environ else experiment_command(ExperimentConfig, run_experiment))()
