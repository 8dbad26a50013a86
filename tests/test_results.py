"""`repro diff --results`: whether the same came out of two runs, whatever they were made from."""

import json
from pathlib import Path

import pytest
from workbench import RecordedRun, Workbench

SMALL = ("--set", "model.n_estimators=5")


@pytest.fixture(scope="module")
def workbench(project: Path, run_in, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A project with three runs: two of one config, in two places, and one with another seed."""
    import shutil

    copy = Path(shutil.copytree(project, tmp_path_factory.mktemp("results") / project.name))
    workbench = Workbench(run_in, copy)
    for options, hash_seed in ((SMALL, "0"), (SMALL, "1"), ((*SMALL, "--set", "seed=7"), "0")):
        done = workbench.run("repro", "train", "configs/experiment.yaml", *options, env={"PYTHONHASHSEED": hash_seed})
        assert done.returncode == 0, done.stdout + done.stderr
    return workbench


@pytest.fixture
def runs(workbench: Workbench) -> list[RecordedRun]:
    return workbench.every_run()


def test_the_same_results_hold_and_what_was_not_the_same_under_them_is_named(
    workbench: Workbench, runs: list[RecordedRun]
) -> None:
    done = workbench.run("nox", "-s", "diff", "--", runs[0].id, runs[1].id, "--results", env={"PYTHONPATH": None})
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"run {runs[0].id} (A) and run {runs[1].id} (B)" in done.stdout
    assert "IDENTICAL" in done.stdout and "hash_seed" in done.stdout
    assert workbench.every_run() == runs  # nothing is recorded


def test_other_results_do_not_hold_and_the_first_difference_is_named(
    workbench: Workbench, runs: list[RecordedRun]
) -> None:
    command = ["diff", runs[0].id[:12], "last", "--results"]
    done = workbench.run("repro", *command, "--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["verdict"] == "different" and told["first_difference"]["kind"] == "metric"
    assert "config_digest" in {condition["name"] for condition in told["conditions"]}
    # For a job of CI it is a failure, other than with `nox -s diff` alone.
    assert workbench.run("nox", "-s", *command[:1], "--", *command[1:], env={"PYTHONPATH": None}).returncode == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [(["last", "last"], "both are run"), (["last", "last~1", "--code"], "--results"), (["last", "f" * 32], "no run")],
)
def test_what_cannot_be_compared_is_said_in_one_line(options: list[str], said: str, workbench: Workbench) -> None:
    done = workbench.run("repro", "diff", *options, "--results")
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr
