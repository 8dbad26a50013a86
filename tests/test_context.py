"""The context provider: runs that were started without `tracked_run` carry the same tags, from anywhere."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shutil import copytree, move
from subprocess import CompletedProcess

import pytest
from workbench import Workbench, store_at

OURS = {
    *("git_commit", "git_branch", "git_remote", "git_dirty", "data_version", "author", "config_digest", "lock_digest"),
    *("image", "manifest_digest", "mlflow.user", "mlflow.source.git.commit", "mlflow.source.git.branch"),
}


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    """A project; the runs start in scripts that are none of its files."""
    return Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("context") / project.name)))


@pytest.fixture(scope="module")
def commits(workbench: Workbench) -> tuple[str, str]:
    """The commits before and after runs that were started in every way, from another folder.

    The script names no store: its runs must go to the one of the project.
    """
    elsewhere = workbench.path.parent / "elsewhere"
    elsewhere.mkdir()
    before = workbench.git("rev-parse", "HEAD")
    done = workbench.script("ways_to_start.py", workbench.path, cwd=elsewhere, fresh=True)
    assert done.returncode == 0, done.stderr
    assert "cannot be reproduced" not in done.stderr
    assert not list(elsewhere.glob("*.db"))
    return before, workbench.git("rev-parse", "HEAD")


def test_a_plain_run_carries_the_tags_of_a_tracked_one(workbench: Workbench, commits: tuple[str, str]) -> None:
    runs = workbench.runs()
    assert OURS <= runs["plain"].tags.keys()
    different = {key for key in OURS if runs["after a commit"].tags[key] != runs["tracked"].tags[key]}
    # one was made of configs/base.yaml, the other of its own values
    assert different == {"config_digest", "manifest_digest"}


def test_an_autologged_run_carries_the_tags(workbench: Workbench, commits: tuple[str, str]) -> None:
    named = {"plain", "after a commit", "tracked", "inside a tracked run", "after a tracked run"}
    runs = workbench.runs()
    (autologged,) = runs.keys() - named
    assert OURS <= runs[autologged].tags.keys()
    assert "estimator_name" in runs[autologged].tags
    with closing(sqlite3.connect(workbench.store)) as database:
        query = (
            "SELECT e.name, e.artifact_location FROM experiments e JOIN runs USING (experiment_id) WHERE run_uuid = ?"
        )
        ((experiment, place),) = database.execute(query, (runs[autologged].id,)).fetchall()
    assert experiment == "penguin-classifier"
    assert place == (workbench.path / "mlartifacts").as_uri()


def test_what_an_autologged_run_lacks_is_said_once_with_a_recipe(workbench: Workbench) -> None:
    changed = workbench.write("scripts/new.py", "")
    try:
        done = workbench.script("autologged.py", env=store_at(workbench.path.parent / "autologged.db"), fresh=True)
    finally:
        changed.unlink()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("this run cannot be reproduced. uncommitted_changes: the work tree has changes") == 1
    assert "    with tracked_run(load(" in done.stderr


def test_a_commit_made_meanwhile_is_seen(workbench: Workbench, commits: tuple[str, str]) -> None:
    runs = workbench.runs()
    before, after = commits
    assert before != after
    for tag in ("git_commit", "mlflow.source.git.commit"):
        assert runs["plain"].tags[tag] == before
        assert runs["after a commit"].tags[tag] == after
        assert runs["after a tracked run"].tags[tag] == after


def test_a_run_of_the_bare_client_is_refused(workbench: Workbench, commits: tuple[str, str]) -> None:
    """MLflow asks no provider there: only the gate of the store can refuse such a run, and does so in a file too."""
    assert "by the client" not in workbench.runs()


def test_a_plain_run_without_evidence_does_not_finish(workbench: Workbench, commits: tuple[str, str]) -> None:
    runs = workbench.runs()
    assert runs["plain"].status == "FAILED"
    assert "it has no data_version, seed" in runs["plain"].tags["failure"]
    assert (runs["tracked"].status, runs["inside a tracked run"].status) == ("FINISHED", "FINISHED")


def test_the_tags_are_there_whatever_is_imported_first(workbench: Workbench) -> None:
    store = workbench.path.parent / "first.db"
    done = workbench.script("machinery_first.py", env=store_at(store), fresh=True)
    assert done.returncode == 0, done.stderr
    assert "Failure attempting to register" not in done.stderr
    assert OURS <= workbench.runs(store)["machinery first"].tags.keys()


def test_what_is_unknown_is_warned_of_and_no_run_begins(workbench: Workbench) -> None:
    store = workbench.path.parent / "unknown.db"
    data = workbench.path / "data"
    move(data, workbench.path.parent / "moved-data")
    try:
        done = workbench.script("plain_run.py", env=store_at(store))
    finally:
        move(workbench.path.parent / "moved-data", data)
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
        done = workbench.script("plain_run.py", env=store_at(store))
    finally:
        workbench.write("configs/base.yaml", policy)
    assert "the experiment is running" not in done.stdout
    assert "configs/base.yaml:1: policy.required_tags: is missing" in done.stdout
    assert not store.exists()


def test_a_plain_run_inside_a_tracked_one_carries_the_tags_of_that_one(
    workbench: Workbench, commits: tuple[str, str]
) -> None:
    runs = workbench.runs()
    around, inside = runs["tracked"].tags, runs["inside a tracked run"].tags
    assert {key: inside[key] for key in OURS} == {key: around[key] for key in OURS}
