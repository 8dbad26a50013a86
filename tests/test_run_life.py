"""A run's life: what it carries, what its block can do to it, and how it ends: never FINISHED by mistake or RUNNING.

The blocks are in tests/scripts/scenes.py; a run has the name of its scene.
"""

import json
import sqlite3
import sys
import tomllib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from reproducibility.tags import PROCESS_TAG, TOKEN_DIGEST_TAG, TOKEN_TAG
from workbench import RecordedRun, Workbench

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process could catch")

ENDED_WELL = {
    *("leaves_a_run_open", "logs_more_params", "draws", "draws_again"),
    *("has_a_child", "child", "draws from another seed", "in a thread", "many params", "long values"),
}
# Each with a part of its tag `failure`.
FAILED = {
    "empties_a_tag": "MlflowException: reproducibility gate: author of run ",
    "removes_a_tag": "say where it comes from, and that does not change",
    "changes_a_tag": "MlflowException: reproducibility gate: git_commit of run ",
    "changes_mlflows_own_tag": "MlflowException: reproducibility gate: mlflow.user of run ",
    "raises": "ValueError: no rows for ada@example.org? see https://example.org/a (a GitHub token)",
    "raises_what_no_store_can_write": "ValueError: \\udc80 \\0",
    "exits_as_if_all_were_well": "sys.exit(0) before the end of the run",
    "raises_deep_down": "JSONDecodeError: ",
    "is_refused_inside": "data: has no rows. To fix it: add some",
    "exits_with_3": "sys.exit(3) before the end of the run",
    "ends_itself": "only the `tracked_run` that began it ends it",
    "ends_itself_as_failed": "only the `tracked_run` that began it ends it",
    "ends_itself_and_raises": "only the `tracked_run` that began it ends it",
    "ends_itself_and_lacks_a_tag": "only the `tracked_run` that began it ends it",
    "changes_the_data": "data_version: the data changed while the run was going on",
    "deletes_the_data": "data_version: data/penguins.csv does not exist",
    "presses_ctrl_c": "interrupted with Ctrl-C",
    "is_terminated": "terminated by SIGTERM",
    "is_terminated_twice": "terminated by SIGTERM",
    "loses_its_terminal": "terminated by SIGHUP",
    "raises_after_its_child": "ValueError: the run's own",
    "has_a_broken_child": "ValueError: the child's",
    "broken child": "ValueError: the child's",
}


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    """One copy of the project, with the scripts of these tests in its commit. All runs go to its own store."""
    workbench = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("life") / project.name)))
    workbench.add("scenes.py", "play_scenes.py", "play_one.py", "struck.py", "own_runs.py")
    workbench.commit()
    return workbench


@pytest.fixture(scope="module")
def played(workbench: Workbench) -> CompletedProcess[str]:
    done = workbench.run("python", "scripts/play_scenes.py")
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def runs(workbench: Workbench, played: CompletedProcess[str]) -> dict[str, RecordedRun]:
    return workbench.runs()


@pytest.fixture(scope="module")
def raised(played: CompletedProcess[str]) -> dict[str, list]:
    """What each scene raised: {name: [type, text, exit code]}."""
    return json.loads(played.stdout.splitlines()[-1])


def test_no_run_is_left_running(runs: dict[str, RecordedRun]) -> None:
    open_runs = {name for name, run in runs.items() if run.status not in ("FINISHED", "FAILED")}
    assert open_runs == {"deletes_itself"}  # MLflow lets nobody end a deleted run


@pytest.mark.parametrize("scene", sorted(ENDED_WELL))
def test_a_run_that_is_complete_at_its_end_is_finished(runs, raised, scene: str) -> None:
    assert runs[scene].status == "FINISHED"
    assert "failure" not in runs[scene].tags
    assert scene not in raised


@pytest.mark.parametrize("scene", sorted(FAILED))
def test_a_run_that_is_not_is_failed_and_says_why(runs, played, scene: str) -> None:
    assert runs[scene].status == "FAILED"
    assert FAILED[scene] in runs[scene].tags["failure"]
    assert f"run {runs[scene].id} ended FAILED: " in played.stderr
    assert "secret" not in played.stderr.replace("ada:secret@example.org/a?b=1\n", "")


def test_a_run_that_its_block_deleted_is_not_finished(runs, raised) -> None:
    assert runs["deletes_itself"].status != "FINISHED"
    assert "deletes_itself" in raised


def test_what_the_block_raised_comes_out_of_it(raised: dict[str, list]) -> None:
    assert raised["raises"][0] == "ValueError"
    assert raised["empties_a_tag"][0] == "MlflowException"
    assert raised["presses_ctrl_c"][0] == "KeyboardInterrupt"
    assert raised["is_terminated"][::2] == ["Terminated", 143]
    assert raised["is_terminated_twice"][::2] == ["Terminated", 143]
    assert raised["loses_its_terminal"][::2] == ["Terminated", 129]
    assert raised["exits_with_3"][::2] == ["SystemExit", 3]


def test_a_refusal_from_inside_a_run_does_not_say_that_nothing_was_started(raised: dict[str, list]) -> None:
    assert raised["is_refused_inside"][::2] == ["RunIncomplete", None]


def test_an_exit_with_status_0_from_inside_a_run_becomes_one_with_status_1(raised: dict[str, list]) -> None:
    assert raised["exits_as_if_all_were_well"][::2] == ["SystemExit", 1]


def test_a_run_inside_a_run_is_its_child(runs: dict[str, RecordedRun]) -> None:
    assert runs["child"].tags["mlflow.parentRunId"] == runs["has_a_child"].id
    assert runs["broken child"].tags["mlflow.parentRunId"] == runs["has_a_broken_child"].id
    assert "mlflow.parentRunId" not in runs["raises"].tags


def test_a_finished_run_inside_a_failed_one_does_not_hold(workbench: Workbench, runs: dict[str, RecordedRun]) -> None:
    children, around = (
        (runs["child of a failed run"], runs["tracked child of a failed run"]),
        runs["raises_after_its_child"],
    )
    audit = json.loads(workbench.run("repro", "audit", "--json").stdout)["runs"]
    for child in children:
        assert child.status == "FINISHED"
        done = workbench.run("repro", "validate", child.id)
        assert done.returncode == 1, done.stdout + done.stderr
        assert f"{around.id}: FAILED" in " ".join(done.stdout.replace("│", " ").split())
        assert [run["verdict"] for run in audit if run["run_id"] == child.id] == ["does not comply"]


def test_what_the_block_left_open_ends_with_its_run(runs: dict[str, RecordedRun]) -> None:
    assert runs["left open"].status == "FINISHED"


def test_a_run_that_its_block_begins_after_a_refused_end_belongs_to_it(runs: dict[str, RecordedRun]) -> None:
    assert (runs["starts_another_run"].status, runs["another"].status) == ("FINISHED", "FINISHED")
    assert runs["another"].tags["mlflow.parentRunId"] == runs["starts_another_run"].id


def test_one_seed_draws_the_same_numbers_under_another_name(runs, raised) -> None:
    assert runs["draws"].metrics == runs["draws_again"].metrics == runs["in a thread"].metrics
    assert raised["unnamed"] != raised["unnamed, again"]


def test_another_seed_draws_other_numbers(runs: dict[str, RecordedRun]) -> None:
    for name, value in runs["draws from another seed"].metrics.items():
        assert value != runs["draws"].metrics[name]


def test_a_config_with_more_params_than_mlflow_takes_at_once_is_logged_whole(runs: dict[str, RecordedRun]) -> None:
    assert {f"many.p{n}": str(n) for n in range(250)}.items() <= runs["many params"].params.items()


def test_the_longest_values_are_kept_whole(runs: dict[str, RecordedRun]) -> None:
    assert runs["long values"].params["long"] == "x" * 6000
    assert runs["long values"].tags["long"] == "y" * 8000


# --- the exit status, and signals that arrive between two steps


@pytest.mark.parametrize(
    ("scene", "status"),
    [("raises_deep_down", 1), pytest.param("is_terminated_twice", 143, marks=POSIX)],
)
def test_the_exit_status_says_how_the_run_ended(workbench: Workbench, scene: str, status: int) -> None:
    done = workbench.run("python", "scripts/play_one.py", scene, fresh=True)
    assert done.returncode == status, done.stderr
    run = workbench.runs()[f"alone {scene}"]
    assert run.status == "FAILED"
    assert run.tags["failure"] in done.stderr
    if scene == "raises_deep_down":
        assert "JSONDecodeError" in done.stderr
        assert "scripts/play_one.py" in done.stderr.replace("\\", "/")


# Each moment is the call of a function: is the run FINISHED when a signal arrives then, and did its block run?
MOMENTS = {
    "create_run": ("FAILED", False),
    "log_artifacts": ("FAILED", False),
    "_require_unchanged": ("FAILED", True),
    "end_run": ("FINISHED", True),
}
SIGNALS = {"SIGTERM": ["Terminated", 143], "SIGINT": ["KeyboardInterrupt", None]}
IGNORED = "log_artifacts SIGINT ignored"


@pytest.fixture(scope="module")
def struck(workbench: Workbench) -> dict[str, list]:
    """What a signal at each moment raised, and whether the block ran: {"MOMENT SIGNAL": [[type, exit code], bool]}."""
    strikes = [f"{moment} {sent}" for moment in MOMENTS for sent in SIGNALS]
    done = workbench.run("python", "scripts/struck.py", *strikes, IGNORED)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@POSIX
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("sent", SIGNALS)
def test_a_signal_at_any_moment_leaves_no_run_running(
    workbench: Workbench, struck: dict[str, list], moment: str, sent: str
) -> None:
    status, ran = MOMENTS[moment]
    assert workbench.runs()[f"{moment} {sent}"].status == status
    assert struck[f"{moment} {sent}"] == [SIGNALS[sent], ran]


@POSIX
def test_ctrl_c_stays_ignored_where_the_process_ignores_it(workbench: Workbench, struck: dict[str, list]) -> None:
    assert workbench.runs()[IGNORED].status == "FINISHED"
    assert struck[IGNORED] == [None, True]


# --- the experiments as they come


@pytest.fixture(scope="module")
def sample(workbench: Workbench) -> RecordedRun:
    """The run of the sample experiment, trained by its own command."""
    return trained(workbench, "scripts/train.py")


def trained(workbench: Workbench, script: str) -> RecordedRun:
    """Run *script* with the sample's config, made small, and return the run that it recorded."""
    options = ["--config", "configs/experiment.yaml", "--set", "model.n_estimators=5"]
    done = workbench.run("python", script, *options)
    assert done.returncode == 0, done.stderr
    return workbench.every_run()[-1]


def test_the_sample_run_carries_exactly_these_tags(workbench: Workbench, sample: RecordedRun) -> None:
    assert sample.status == "FINISHED"
    ours = {key: value for key, value in sample.tags.items() if not key.startswith("mlflow.")}
    digests = {key: ours.pop(key) for key in list(ours) if key.endswith("_digest") or key == "data_version"}
    who = f"{workbench.git('config', 'user.name')} <{workbench.git('config', 'user.email')}>"
    assert ours == {
        "git_commit": workbench.git("rev-parse", "HEAD"),
        "git_branch": workbench.git("branch", "--show-current"),
        "git_remote": "none",
        "git_dirty": "false",
        "author": who,
        "image": "none",
        PROCESS_TAG: ours[PROCESS_TAG],
        TOKEN_TAG: ours[TOKEN_TAG],
    }
    expected = {"data_version", "config_digest", "lock_digest", "manifest_digest", TOKEN_DIGEST_TAG}
    assert set(digests) == expected
    assert all(value.startswith("blake3:") and len(value) == 71 for value in digests.values())
    assert sample.tags["mlflow.source.git.commit"] == ours["git_commit"]
    assert sample.tags["mlflow.user"] == who


def test_a_list_of_runs_says_what_was_tried_and_the_page_of_a_run_how_to_reproduce_it(
    workbench: Workbench, sample: RecordedRun
) -> None:
    assert sample.name == "experiment n_estimators=5"
    commit, branch = workbench.git("rev-parse", "HEAD")[:10], workbench.git("branch", "--show-current")
    assert sample.tags["mlflow.note.content"].split("\n\n") == [
        "Config: `configs/experiment.yaml`, `model.n_estimators=5`",
        f"Code: commit `{commit}` on `{branch}`",
        f"Reproduce it: `nox -s reproduce -- {sample.id}`",
    ]
    with closing(sqlite3.connect(workbench.store)) as database:
        query = "SELECT key, value FROM experiment_tags JOIN experiments USING (experiment_id) WHERE name = ?"
        kinds = database.execute(query, ("penguin-classifier",)).fetchall()
    assert kinds == [("mlflow.experimentKind", "custom_model_development")]


def test_the_sample_run_carries_exactly_these_params(sample: RecordedRun) -> None:
    assert set(sample.params) == {
        *("experiment_name", "seed", "data_version", "data.path", "data.test_fraction", "cross_validation_folds"),
        *("model.n_estimators", "model.max_depth", "model.min_samples_leaf"),
    }
    assert sample.params["data_version"] == sample.tags["data_version"]
    assert sample.params["seed"] == "42"


def test_the_sample_run_carries_exactly_this_evidence(workbench: Workbench, sample: RecordedRun) -> None:
    assert {path.name for path in sample.evidence.iterdir()} == {"manifest.json", "config.yaml", "requirements.txt"}
    assert (sample.evidence / "requirements.txt").read_bytes() == (workbench.path / "requirements.txt").read_bytes()
    manifest = json.loads((sample.evidence / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["params"] == sample.params
    assert manifest["tags"].items() <= sample.tags.items()
    assert manifest["entry_point"] == "scripts/train.py"
    noted = tomllib.loads((workbench.path / "pyproject.toml").read_text("utf-8"))["tool"]["cookiecutter"]
    assert manifest["template"] == {"address": noted["template"], "commit": noted["commit"]}


def test_a_copy_of_the_standard_experiment_runs(workbench: Workbench, sample: RecordedRun) -> None:
    template = (workbench.path / "templates/experiment.py").read_text(encoding="utf-8")
    workbench.write("scripts/baseline.py", template)
    run = trained(workbench, "scripts/baseline.py")
    assert run.status == "FINISHED"
    assert run.tags["git_dirty"] == "true"  # the copy is not committed
    assert b"scripts/baseline.py" in (run.evidence / "uncommitted.patch").read_bytes()


# --- the lecture's shape


@pytest.fixture(scope="module")
def lecture(workbench: Workbench) -> CompletedProcess[str]:
    done = workbench.run("python", "scripts/own_runs.py")
    assert done.returncode == 0, done.stderr
    return done


def test_the_lectures_shape_records_the_same_run(workbench: Workbench, lecture, sample: RecordedRun) -> None:
    runs = workbench.runs()
    assert {runs[name].status for name in ("base", "file", "values")} == {"FINISHED"}
    assert runs["file"].params == sample.params
    # The token is only for runs that `tracked_run` ends.
    ours = {key for key in sample.tags if not key.startswith("mlflow.")} - {TOKEN_TAG, TOKEN_DIGEST_TAG}
    assert ours <= runs["base"].tags.keys()
    assert ours <= runs["values"].tags.keys()
    assert runs["file"].tags["config_digest"] == sample.tags["config_digest"]
    assert {path.name for path in runs["base"].evidence.iterdir()} >= {"manifest.json", "config.yaml"}


def test_the_lectures_shape_fails_what_lacks_something(workbench: Workbench, lecture) -> None:
    runs = workbench.runs()
    assert {runs[name].status for name in ("no seed", "spoiled", "not logged")} == {"FAILED"}
    assert "no seed Refused seed: no seed is set" in lecture.stdout
    assert "spoiled MlflowException reproducibility gate: author of run" in lecture.stdout
    assert "not logged RunIncomplete" in lecture.stdout
    assert lecture.stdout.count("outside Refused mlflow.active_run: there is no active run") == 2
