"""Train one experiment: python scripts/train.py --config configs/experiment.yaml [--set model.max_depth=3]"""

from reproducibility import experiment_command

from << cookiecutter.package_name >>.config import ExperimentConfig


def run_experiment(config: ExperimentConfig) -> str:
    """Train a classifier of penguins, record its metrics and model, and validate the run."""
    # Imported here: a typo in a config is reported at once, and not after the libraries are loaded.
    from << cookiecutter.package_name >>.experiment import run_experiment

    return run_experiment(config)


if __name__ == "__main__":
    experiment_command(ExperimentConfig, run_experiment)()
