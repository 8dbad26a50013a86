"""Load the sample config from wherever this is run, and print its seed."""

from penguin_classifier.config import ExperimentConfig
from reproducibility import load

print(load("configs/experiment.yaml", ExperimentConfig).seed)
