"""Train one experiment: python scripts/train.py --config configs/experiment.yaml [--set model.max_depth=3]"""

from <<cookiecutter.package_name>>.config import ExperimentConfig
from <<cookiecutter.package_name>>.experiment import run_experiment
from <<cookiecutter.package_name>>.reproducibility import experiment_command

if __name__ == "__main__":
    experiment_command(ExperimentConfig, run_experiment)()
