"""scripts/train.py of the sweep of no-op trials: a trial ends at once, before anything is imported."""

import os
import sys

if "REPRODUCIBILITY_TRIAL" in os.environ:
    sys.exit(2)

from penguin_classifier.config import ExperimentConfig
from penguin_classifier.experiment import run_experiment
from reproducibility import experiment_command

experiment_command(ExperimentConfig, run_experiment)()
