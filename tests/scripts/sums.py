"""An experiment whose sum has other last bits if another number of threads adds: python scripts/sums.py --config FILE

It records two runs. Before the second one a library is loaded that sets variables of its own.
"""

import os

import mlflow
import numpy
from reproducibility import experiment_command, tracked_run
from tiny import Tiny


def run_experiment(config: Tiny) -> str:
    """A sum of many numbers."""
    with tracked_run(config, run_name=os.environ.get("RUN_NAME")) as run:
        x, y = numpy.random.default_rng(0).standard_normal((2, 2_000_000))
        mlflow.log_metric("sum", float(x @ y))
    import sklearn  # noqa: F401

    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # as the seeding of torch does
    with tracked_run(config, run_name=f"{os.environ.get('RUN_NAME')} again"):
        pass
    return run.info.run_id


if __name__ == "__main__":
    experiment_command(Tiny, run_experiment)()
