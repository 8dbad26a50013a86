"""`repro diff --results`: whether two runs have the same results, whatever they were made from."""

import json
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from workbench import RecordedRun, Workbench

SMALL = ("--set", "model.n_estimators=5")
# The options of each `repro diff`; a number is a run, in the order of recording.
COMMANDS: dict[str, tuple[str | int, ...]] = {
    "other results": (0, "last", "--results", "--json"),
    "one run twice": ("last", "last", "--results"),
    "code too": ("last", "last~1", "--code", "--results"),
    "no such run": ("last", "f" * 32, "--results"),
}


@pytest.fixture(scope="module")
def workbench(project: Path, run_in, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A project with three runs: two of one config with different hash seeds, and one with another seed."""
    copy = Path(shutil.copytree(project, tmp_path_factory.mktemp("results") / project.name))
    workbench = Workbench(run_in, copy)
    for options, hash_seed in ((SMALL, "0"), (SMALL, "1"), ((*SMALL, "--set", "seed=7"), "0")):
        done = workbench.run("repro", "train", "configs/experiment.yaml", *options, env={"PYTHONHASHSEED": hash_seed})
        assert done.returncode == 0, done.stdout + done.stderr
    return workbench


@pytest.fixture(scope="module")
def runs(workbench: Workbench) -> list[RecordedRun]:
    return workbench.every_run()


@pytest.fixture(scope="module")
def answers(workbench: Workbench, runs: list[RecordedRun]) -> dict[str, CompletedProcess[str]]:
    """The answers of `repro diff` to COMMANDS; one process gives them all."""
    commands = {
        name: ["diff", *(runs[each].id[:12] if isinstance(each, int) else each for each in arguments)]
        for name, arguments in COMMANDS.items()
    }
    return workbench.repro_each(commands)


def test_the_same_results_hold_and_the_inputs_that_differ_are_named(
    workbench: Workbench, runs: list[RecordedRun]
) -> None:
    done = workbench.run("nox", "-s", "diff", "--", runs[0].id, runs[1].id, "--results", env={"PYTHONPATH": None})
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"run {runs[0].id} (A) and run {runs[1].id} (B)" in done.stdout
    assert "IDENTICAL" in done.stdout and "hash_seed" in done.stdout
    assert workbench.every_run() == runs  # nothing is recorded


def test_other_results_do_not_hold_and_the_first_difference_is_named(
    workbench: Workbench, runs: list[RecordedRun], answers: dict[str, CompletedProcess[str]]
) -> None:
    answer = answers["other results"]
    assert answer.returncode == 1, answer.stderr
    report = json.loads(answer.stdout)
    assert report["verdict"] == "different" and report["first_difference"]["kind"] == "metric"
    assert report["input_differences"] == [{"kind": "seed", "name": "seed", "a": "42", "b": "7"}]
    # For a job of CI it is a failure, other than with `nox -s diff` alone.
    command = ["nox", "-s", "diff", "--", runs[0].id, "last", "--results"]
    assert workbench.run(*command, env={"PYTHONPATH": None}).returncode == 1


@pytest.mark.parametrize(
    ("name", "words"), [("one run twice", "both are run"), ("code too", "--results"), ("no such run", "no run")]
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    name: str, words: str, answers: dict[str, CompletedProcess[str]]
) -> None:
    assert answers[name].returncode == 2
    assert words in answers[name].stderr and len(answers[name].stderr.strip().splitlines()) == 1
