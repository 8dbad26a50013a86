"""The experiment from the outside: each way to start it records a run that holds."""

import re
import subprocess
from collections.abc import Callable

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("--set", "model.n_estimators=5")


@pytest.mark.parametrize("script", ["scripts/train.py", "templates/experiment.py"])
def test_a_script_records_a_run_that_holds(script: str, run_command: Run) -> None:
    trained = run_command("python", script, "--config", "configs/experiment.yaml", *SMALL)
    assert trained.returncode == 0, trained.stderr
    assert "test_accuracy" in trained.stdout


def test_the_repro_command_records_a_good_model_and_its_run_validates_by_id(run_command: Run) -> None:
    trained = run_command("repro", "train", "configs/experiment.yaml", *SMALL)
    assert trained.returncode == 0, trained.stderr
    run_id = re.search(r"run ([0-9a-f]{32})", trained.stdout)[1]
    accuracy = float(re.search(r"test_balanced_accuracy\D+([\d.]+)", trained.stdout)[1])
    assert accuracy > 0.9  # always guessing one of the three species scores a third
    validated = run_command("repro", "validate", run_id)
    assert validated.returncode == 0, validated.stderr


def test_a_wrong_config_is_refused_in_one_line(run_command: Run) -> None:
    refused = run_command("python", "scripts/train.py", "--config", "configs/experiment.yaml", "--set", "model.trees=5")
    assert refused.returncode == 2
    assert "model.trees" in refused.stderr
    assert "Traceback" not in refused.stderr
