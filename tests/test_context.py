"""The context provider: runs that were started without `tracked_run` carry the same tags, from anywhere."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree, move
from subprocess import CompletedProcess

import pytest
from workbench import Workbench, store_at

# Every way to start a run, in one process; what a user would have imported first comes first.
WAYS = """
import subprocess, sys, warnings
from contextlib import suppress
import mlflow
warnings.simplefilter("always")
from sklearn.linear_model import LogisticRegression

client = mlflow.MlflowClient()
def refused(start):
    try: start()
    except mlflow.MlflowException as error: print(error)
    else: raise AssertionError("it was let through")
def plain(**options):
    with mlflow.start_run(**options): pass

refused(lambda: plain(run_name="plain"))
refused(lambda: client.create_run("0", run_name="by the client"))
mlflow.sklearn.autolog(log_models=False)
with suppress(mlflow.MlflowException): LogisticRegression().fit([[0.0], [1.0]], [0, 1])
mlflow.sklearn.autolog(disable=True)
subprocess.run(["git", "-C", sys.argv[1], "commit", "--quiet", "--allow-empty", "--message=Meanwhile"], check=True)
refused(lambda: plain(run_name="after a commit"))
from reproducibility import tracked_run
with tracked_run({"experiment_name": "tracked", "seed": 42, "data": {"path": "data/penguins.csv"}}, run_name="tracked"):
    with mlflow.start_run(run_name="inside a tracked run", nested=True): pass
refused(lambda: plain(experiment_id="0", run_name="after a tracked run"))
"""
# The other way round: the machinery is imported before MLflow is.
MACHINERY_FIRST = """
from reproducibility import tracked_run
import mlflow
mlflow.start_run(run_name="machinery first")
mlflow.end_run("FAILED")
"""
UNTOLD = """
import mlflow
from reproducibility import validate_required_tags
try:
    with mlflow.start_run(run_name="untold"):
        print("the experiment is running", flush=True)
        validate_required_tags()
except Exception as error:
    print(type(error).__name__, error)
"""
OURS = {
    *("git_commit", "git_branch", "git_remote", "git_dirty", "data_version", "author", "config_digest", "lock_digest"),
    *("image", "manifest_digest", "mlflow.user", "mlflow.source.git.commit", "mlflow.source.git.branch"),
}


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    workbench = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("context") / project.name)))
    workbench.commit()
    return workbench


@pytest.fixture(scope="module")
def commits(workbench: Workbench) -> tuple[str, str]:
    """The commits before and after the runs of every way, which `python -c` starts outside the project."""
    elsewhere = workbench.path.parent / "elsewhere"
    elsewhere.mkdir()
    before = workbench.git("rev-parse", "HEAD")
    store = store_at(workbench.path.parent / "ways.db")
    done = workbench.python(WAYS, str(workbench.path), cwd=elsewhere, env=store)
    assert done.returncode == 0, done.stderr
    assert "cannot be reproduced" not in done.stderr
    return before, workbench.git("rev-parse", "HEAD")


def test_a_plain_run_carries_the_tags_of_a_tracked_one(workbench: Workbench, commits: tuple[str, str]) -> None:
    runs = workbench.runs(workbench.path.parent / "ways.db")
    assert OURS <= runs["plain"].tags.keys()
    different = {key for key in OURS if runs["after a commit"].tags[key] != runs["tracked"].tags[key]}
    # one was made of configs/base.yaml, the other of its own values
    assert different == {"config_digest", "manifest_digest"}


def test_an_autologged_run_carries_the_tags(workbench: Workbench, commits: tuple[str, str]) -> None:
    named = {"plain", "after a commit", "tracked", "inside a tracked run", "after a tracked run"}
    runs = workbench.runs(workbench.path.parent / "ways.db")
    (autologged,) = runs.keys() - named
    assert OURS <= runs[autologged].tags.keys()
    assert "estimator_name" in runs[autologged].tags


def test_a_commit_made_meanwhile_is_seen(workbench: Workbench, commits: tuple[str, str]) -> None:
    runs = workbench.runs(workbench.path.parent / "ways.db")
    before, after = commits
    assert before != after
    for tag in ("git_commit", "mlflow.source.git.commit"):
        assert runs["plain"].tags[tag] == before
        assert runs["after a commit"].tags[tag] == after
        assert runs["after a tracked run"].tags[tag] == after


def test_a_run_of_the_bare_client_is_refused(workbench: Workbench, commits: tuple[str, str]) -> None:
    """MLflow asks no provider there: only the gate of the store can refuse such a run, and does so in a file too."""
    assert "by the client" not in workbench.runs(workbench.path.parent / "ways.db")


def test_a_plain_run_without_evidence_does_not_finish(workbench: Workbench, commits: tuple[str, str]) -> None:
    runs = workbench.runs(workbench.path.parent / "ways.db")
    assert runs["plain"].status == "FAILED"
    assert "it has no data_version, seed" in runs["plain"].tags["failure"]
    assert (runs["tracked"].status, runs["inside a tracked run"].status) == ("FINISHED", "FINISHED")


def test_the_tags_are_there_whatever_is_imported_first(workbench: Workbench) -> None:
    store = workbench.path.parent / "first.db"
    done = workbench.python(MACHINERY_FIRST, env=store_at(store))
    assert done.returncode == 0, done.stderr
    assert "Failure attempting to register" not in done.stderr
    assert OURS <= workbench.runs(store)["machinery first"].tags.keys()


def test_what_cannot_be_told_is_warned_of_and_no_run_begins(workbench: Workbench) -> None:
    store = workbench.path.parent / "untold.db"
    data = workbench.path / "data"
    move(data, workbench.path.parent / "data-away")
    try:
        done = workbench.python(UNTOLD, env=store_at(store))
    finally:
        move(workbench.path.parent / "data-away", data)
    assert done.returncode == 0, done.stderr
    assert "this run cannot be reproduced. data_version: data/penguins.csv does not exist" in done.stderr
    assert "the experiment is running" not in done.stdout
    assert (
        "MlflowException reproducibility gate: this run could not be reproduced (it has no data_version" in done.stdout
    )
    assert not workbench.runs(store)


def test_with_a_policy_that_cannot_be_read_no_run_begins(workbench: Workbench) -> None:
    store = workbench.path.parent / "lawless.db"
    policy = (workbench.path / "configs/base.yaml").read_text(encoding="utf-8")
    workbench.write("configs/base.yaml", "policy: {}\n")
    try:
        done = workbench.python("import mlflow\nwith mlflow.start_run(run_name='lawless'): pass", env=store_at(store))
    finally:
        workbench.write("configs/base.yaml", policy)
    assert done.returncode == 1
    assert "configs/base.yaml:1: policy.required_tags: is missing" in done.stderr
    assert not store.exists()


def test_a_plain_run_inside_a_tracked_one_carries_the_tags_of_that_one(
    workbench: Workbench, commits: tuple[str, str]
) -> None:
    runs = workbench.runs(workbench.path.parent / "ways.db")
    around, inside = runs["tracked"].tags, runs["inside a tracked run"].tags
    assert {key: inside[key] for key in OURS} == {key: around[key] for key in OURS}
