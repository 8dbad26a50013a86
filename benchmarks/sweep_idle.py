"""scripts/train.py of the sweep of no-op trials: a trial ends at once, before anything is imported."""

import os
import sys

if "REPRODUCIBILITY_TRIAL" in os.environ:
    sys.exit(2)

from penguin_classifier.config import ExperimentConfig
from reproducibility import experiment_command


def run_experiment(config: ExperimentConfig) -> str:
    """Never called: the process of each trial ends above."""
    raise NotImplementedError


experiment_command(ExperimentConfig, run_experiment)()
