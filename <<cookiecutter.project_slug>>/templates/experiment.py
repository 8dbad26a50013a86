"""The standard experiment: python templates/experiment.py --config configs/experiment.yaml

Copy this file to scripts/, fill in `train_and_evaluate`, and start the copy in the same way. The rest is done for you.
A run that could not be reproduced is refused; any other gets its tags, params and evidence, and is checked at its end.
"""

import mlflow
from reproducibility import experiment_command, tracked_run
from sklearn.dummy import DummyClassifier

from << cookiecutter.package_name >>.config import ExperimentConfig
from << cookiecutter.package_name >>.data import load_split


def train_and_evaluate(config: ExperimentConfig) -> None:
    """Your experiment. Here: how good is a model that always guesses the most frequent species?"""
    split = load_split(config.data, config.seed)
    model = DummyClassifier().fit(split.x_train, split.y_train)
    mlflow.log_metric("test_accuracy", model.score(split.x_test, split.y_test))


def run_experiment(config: ExperimentConfig) -> str:
    """Record the baseline that a model has to beat.

    Returns the id of the run.
    """
    with tracked_run(config) as run:
        train_and_evaluate(config)
    return run.info.run_id


if __name__ == "__main__":
    experiment_command(ExperimentConfig, run_experiment)()
