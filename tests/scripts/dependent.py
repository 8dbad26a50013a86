"""An experiment whose metric is the installed version of the package tinydep, 0 without it."""

import os

import mlflow
from reproducibility import experiment_command, tracked_run
from tiny import Tiny

try:
    import tinydep
except ImportError:
    VERSION = 0.0
else:
    VERSION = tinydep.VALUE


def run_experiment(config: Tiny) -> str:
    """An experiment that depends on a package."""
    with tracked_run(config, run_name=os.environ.get("RUN_NAME")) as run:
        mlflow.log_metric("dependency", VERSION)
    return run.info.run_id


if __name__ == "__main__":
    experiment_command(Tiny, run_experiment)()
