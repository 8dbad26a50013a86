"""scikit-learn models: the usual ones are logged without a list of types, and nothing is lost with any other."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile, copytree
from subprocess import CompletedProcess

import pytest
from workbench import SCRIPTS, Workbench

WAYS = ("tracked", "plain", "without skops", "trusted by the code", "saved", "after a run")


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    workbench = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("models") / project.name)))
    workbench.add("log_models.py")
    copyfile(SCRIPTS / "own_features.py", workbench.path / "src/penguin_classifier/own_features.py")
    workbench.commit()
    return workbench


@pytest.fixture(scope="module")
def usual(workbench: Workbench) -> dict[str, str]:
    """{name: uri} of models of the usual kinds, all logged in one run."""
    done = workbench.run("python", "scripts/log_models.py", "usual", "none")
    uris = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(uris, dict), uris
    return uris


@pytest.fixture(scope="module")
def others(workbench: Workbench) -> dict[str, CompletedProcess[str]]:
    """What each way to log a model with a type of its own printed."""
    folder = workbench.path.parent
    return {way: workbench.run("python", "scripts/log_models.py", way, folder / way) for way in WAYS}


def test_the_usual_models_are_logged_as_the_documentation_of_mlflow_says(
    usual: dict[str, str], workbench: Workbench, bare_python: Path, clean_env: dict[str, str]
) -> None:
    assert workbench.runs()["usual"].status == "FINISHED"
    # Each model lists its types, so that whoever loads it needs no policy.
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{workbench.store}", "PYTHONPATH": str(workbench.path / "src")}
    command = [bare_python, SCRIPTS / "load_models.py", json.dumps(usual)]
    done = subprocess.run(command, env=clean_env | variables, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["boosting"] == "HistGradientBoostingClassifier"


def test_a_type_that_the_policy_does_not_trust_costs_the_finish_and_nothing_else(others, workbench: Workbench) -> None:
    message = json.loads(others["tracked"].stdout)
    assert message.startswith("model: it has types that the policy does not trust: __main__.Squared. To fix it: ")
    assert len(message.splitlines()) == 1
    warning = next(line for line in others["tracked"].stderr.splitlines() if line.startswith("Warning: "))
    assert warning.endswith(message)
    run = workbench.runs()["tracked"]
    assert (run.status, run.metrics) == ("FAILED", {"late": 1})
    assert "does not trust: __main__.Squared" in run.tags["failure"]
    assert len(list(workbench.path.glob("mlartifacts/models/*/artifacts/model.skops")))


@pytest.mark.parametrize("way", ["plain", "saved"])
def test_no_run_finishes_with_such_a_type(others, workbench: Workbench, way: str) -> None:
    run = workbench.runs()[way]
    assert (run.status, run.metrics) == ("FAILED", {"late": 1})
    assert "does not trust: __main__.Squared" in json.loads(others[way].stdout)


def test_a_model_that_skops_cannot_store_is_kept_too(others, workbench: Workbench) -> None:
    assert "skops cannot store Birch (Objects of type Birch " in json.loads(others["without skops"].stdout)
    run = workbench.runs()["without skops"]
    assert (run.status, run.metrics) == ("FAILED", {"late": 1})
    assert len(list(workbench.path.glob("mlartifacts/models/*/artifacts/model.pkl"))) == 1


def test_code_can_still_name_a_type(others, workbench: Workbench) -> None:
    assert workbench.runs()["trusted by the code"].status == "FINISHED"
    assert "Warning: run" not in others["trusted by the code"].stderr


def test_outside_of_a_run_such_a_model_is_refused(others, workbench: Workbench) -> None:
    assert "does not trust: __main__.Squared" in json.loads(others["after a run"].stdout)
    assert workbench.runs()["after a run"].status == "FINISHED"
    assert (workbench.path.parent / "saved" / "model.skops").exists()
    assert not (workbench.path.parent / "after a run").exists()


def test_a_pattern_that_would_trust_nothing_is_refused(workbench: Workbench) -> None:
    workbench.edit("configs/base.yaml", "[numpy, scipy", '["sklearn.*", scipy')
    try:
        done = workbench.run("repro", "train", "configs/experiment.yaml")
    finally:
        workbench.edit("configs/base.yaml", '["sklearn.*", scipy', "[numpy, scipy")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "policy.trusted_model_types[0]" in done.stderr
