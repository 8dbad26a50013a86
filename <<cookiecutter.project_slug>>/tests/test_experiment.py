"""The experiment from the outside: each way to start it records a run that passes validation."""

import re
import subprocess
from collections.abc import Callable

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_standard_experiment_records_a_run_that_passes(run_command: Run) -> None:
    trained = run_command("python", "templates/experiment.py", "--config", "configs/experiment.yaml")
    assert trained.returncode == 0, trained.stderr
    assert "test_accuracy" in trained.stdout


def test_the_sample_experiment_records_a_good_model_and_its_run_passes_by_id(run_command: Run) -> None:
    trained = run_command("repro", "train", "configs/experiment.yaml", "--set", "model.n_estimators=5")
    assert trained.returncode == 0, trained.stderr
    run_id = re.search(r"run ([0-9a-f]{32})", trained.stdout)[1]
    accuracy = float(re.search(r"test_balanced_accuracy\D+([\d.]+)", trained.stdout)[1])
    assert accuracy > 0.9  # a model that always guesses one of the three species gets a third
    validated = run_command("repro", "validate", run_id)
    assert validated.returncode == 0, validated.stderr


def test_a_wrong_config_is_refused_in_one_line(run_command: Run) -> None:
    refused = run_command("python", "scripts/train.py", "--config", "configs/experiment.yaml", "--set", "model.trees=5")
    assert refused.returncode == 2
    assert "model.trees" in refused.stderr
    assert "Traceback" not in refused.stderr
