"""The sample experiment end to end, with the project's own lock in its own environment, through its front door."""

import json
import re
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import uv
from conftest import TEMPLATE, python_of
from needs import skip_without_python

OWN = {"PYTHONPATH": None}  # a session of nox brings its own environment, with the project installed


def run_id_in(output: str) -> str:
    return re.search(r"run ([0-9a-f]{32}) of penguin-classifier", output)[1]


def validated(project: Path, run_in, run_id: str) -> dict:
    done = run_in(project, "repro", "validate", run_id, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def trained(project: Path, run_in, share_bytecode, tmp_path_factory) -> tuple[Path, CompletedProcess[str]]:
    """A copy of the project in which `nox -s train` was run once."""
    copy = Path(shutil.copytree(project, tmp_path_factory.mktemp("trained") / project.name))
    share_bytecode(copy / ".nox" / "train")
    return copy, run_in(copy, "nox", "-s", "train", env=OWN)


def test_nox_train_ends_with_a_run_that_holds_and_where_to_look(trained, run_in) -> None:
    project, done = trained
    assert done.returncode == 0, done.stdout + done.stderr
    assert "this run can be reproduced" in done.stdout
    assert str(project / "mlflow.db") in done.stdout
    result = validated(project, run_in, run_id_in(done.stdout))
    assert result["holds"]
    assert 0.9 < result["metrics"]["test_balanced_accuracy"] <= 1


def test_the_readme_shows_what_nox_train_prints(trained) -> None:
    project, done = trained
    shown = project.joinpath("README.md").read_text("utf-8").partition("on real data:")[2].split("```")[1]
    lines = [re.sub("[0-9a-f]{32}", "ID", line) for line in shown.strip().splitlines() if line != "…"]
    assert len(lines) > 3
    printed = re.sub("[0-9a-f]{32}", "ID", done.stdout).splitlines()
    assert [line for line in lines if line not in printed] == []


def test_training_leaves_the_work_tree_clean(trained, run_in) -> None:
    project, _ = trained
    assert run_in(project, "git", "status", "--porcelain", check=True).stdout == ""


def test_the_run_has_its_model_with_signature_and_lock_and_its_picture(trained, run_in) -> None:
    project, done = trained
    artifacts = project / "mlartifacts" / run_id_in(done.stdout) / "artifacts"
    assert (artifacts / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    (model,) = project.glob("mlartifacts/models/*/artifacts")
    assert "bill_length_mm" in (model / "MLmodel").read_text("utf-8")
    locked = set(re.findall(r"^[\w.-]+==\S+", (project / "requirements.txt").read_text("utf-8"), re.MULTILINE))
    required = set((model / "requirements.txt").read_text("utf-8").split())
    assert "scikit-learn" in str(required)
    assert required <= locked  # the lock is for every platform, the model for this one


def test_one_config_gives_the_same_numbers_twice_and_another_seed_others(fresh_project: Path, run_in) -> None:
    def metrics(*options: str) -> dict:
        small = "--set=model.n_estimators=5"
        done = run_in(fresh_project, "repro", "train", "configs/experiment.yaml", small, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return validated(fresh_project, run_in, run_id_in(done.stdout))["metrics"]

    first = metrics()
    assert metrics() == first
    assert metrics("--set", "seed=7") != first


def test_the_project_passes_its_own_lint_and_tests_and_dev_makes_the_same_environment(
    fresh_project: Path, run_in, share_bytecode, tmp_path: Path
) -> None:
    """Also for a user who has told uv to install in other ways."""
    share_bytecode(fresh_project / ".nox" / "tests")
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").write_text("[pip]\nrequire-hashes = true\n", encoding="utf-8")
    (tmp_path / "constraints.txt").write_text("click<1\n", encoding="utf-8")
    ways = {"UV_REQUIRE_HASHES": "1", "UV_SYSTEM_PYTHON": "1", "UV_CONSTRAINT": str(tmp_path / "constraints.txt")}
    ways |= {"UV_NO_BINARY": "1", "UV_PYTHON": "3.7", "XDG_CONFIG_HOME": str(tmp_path)}
    done = run_in(fresh_project, "nox", "-s", "lint", "tests", "dev", env=OWN | ways)
    assert done.returncode == 0, done.stdout + done.stderr
    (of_tests,) = fresh_project.glob(".nox/tests*")
    packages = [
        run_in(fresh_project, uv.find_uv_bin(), "pip", "freeze", "--python", python_of(each), check=True).stdout
        for each in (of_tests, fresh_project / ".venv")
    ]
    assert packages[0] == packages[1]
    assert f"-e {fresh_project.as_uri()}\n" in packages[1]
    started = run_in(fresh_project, python_of(fresh_project / ".venv").with_name("repro"), "--help", env=OWN)
    assert started.returncode == 0, started.stderr


# The newest. Between the first and the newest, tests/test_workflow.py runs the project's tests.
@pytest.mark.parametrize(
    "version", json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8"))["python_version"][-1:]
)
def test_another_python_trains_too(version: str, render, run_in, tmp_path: Path) -> None:
    python = shutil.which(f"python{version}")
    if python is None or run_in(tmp_path, python, "--version").returncode != 0:
        skip_without_python(version)
    rendered = render({"python_version": version, "author": "Ada <ada@example.org>"}, tmp_path)
    assert rendered.returncode == 0, rendered.stderr
    (project,) = tmp_path.iterdir()
    done = run_in(project, "nox", "-s", "train", "--", "--set", "model.n_estimators=5", env=OWN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "this run can be reproduced" in done.stdout
