"""Train one experiment: python scripts/train.py --config configs/experiment.yaml [--set model.max_depth=3]"""

from reproducibility import experiment_command

from << cookiecutter.package_name >>.config import ExperimentConfig


def run_experiment(config: ExperimentConfig) -> str:
    """Train a classifier of penguins, record how well it does, and validate the run."""
    # Here, not above: a typo in a config must not wait until the libraries are loaded.
    from << cookiecutter.package_name >>.experiment import run_experiment

    return run_experiment(config)


if __name__ == "__main__":
    experiment_command(ExperimentConfig, run_experiment)()
