"""`repro reproduce` in clones, after a rename and a move, in a folder of a bigger repository, and without src/."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, ignore_patterns
from subprocess import CompletedProcess

import pytest
from reproductions import NOTES, TinyWorkbench, remote_of
from workbench import RecordedRun

PACKAGE = "penguin_classifier"


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> TinyWorkbench:
    return TinyWorkbench.new(run_in, project, tmp_path_factory.mktemp("places"))


@pytest.fixture(scope="module")
def clean(workbench: TinyWorkbench) -> RecordedRun:
    return workbench.by_id(workbench.train("clean"))


@pytest.fixture(scope="module")
def remote(workbench: TinyWorkbench, clean: RecordedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A remote in which the commit of the clean run is not the newest one."""
    return remote_of(workbench, tmp_path_factory.mktemp("remote"))


def test_a_missing_commit_is_fetched_and_no_branch_is_touched(
    workbench: TinyWorkbench, clean: RecordedRun, remote: Path, tmp_path: Path
) -> None:
    shallow = workbench.clone(remote, tmp_path / "shallow", "--depth=1")
    references = shallow.git("for-each-ref")
    shallow.identical(clean.id)
    assert shallow.git("for-each-ref") == references
    assert not (shallow.path / ".git" / "FETCH_HEAD").exists()


def test_a_commit_that_is_nowhere_is_named(workbench: TinyWorkbench, remote: Path, tmp_path: Path) -> None:
    other = workbench.clone(remote, tmp_path / "other")
    other.write(NOTES, 'NOTE = "never pushed"\n')
    commit = other.commit()
    run_id = other.train("never pushed")
    message = workbench.refused(run_id)
    assert f"git_commit: the run's commit {commit} is not in this repository" in message
    assert "push it from the clone that the run was started in" in message
    other.git("remote", "set-url", "origin", str(tmp_path / "gone"))
    other.git("reset", "--quiet", "--hard", "HEAD~1")
    other.git("reflog", "expire", "--expire=now", "--all")
    other.git("gc", "--quiet", "--prune=now")
    assert f"nor in {tmp_path / 'gone'}" in other.refused(run_id)


def test_a_run_of_a_package_that_was_renamed_since(
    workbench: TinyWorkbench, clean: RecordedRun, remote: Path, tmp_path: Path
) -> None:
    renamed = workbench.clone(remote, tmp_path / "renamed")
    renamed.git("mv", f"src/{PACKAGE}", "src/another_name")
    for name in ("pyproject.toml", "scripts/train.py", "scripts/tiny.py"):
        renamed.edit(name, PACKAGE, "another_name")
    renamed.commit()
    reproduction = renamed.identical(clean.id)
    assert reproduction.tags["git_commit"] == clean.tags["git_commit"]


def test_a_run_of_a_folder_of_a_bigger_repository_that_was_moved_since(
    workbench: TinyWorkbench, tmp_path: Path
) -> None:
    workbench.git("init", "--quiet", str(tmp_path))
    workbench.identify(tmp_path)
    inner = workbench.elsewhere(
        Path(copytree(workbench.path, tmp_path / "ml", ignore=ignore_patterns(".cache", ".git")))
    )
    inner.commit()
    run_id = inner.train("in a folder")
    inner.identical(run_id)
    (tmp_path / "models").mkdir()
    inner.git("-C", str(tmp_path), "mv", "ml", "models/ml")
    if (tmp_path / "ml").exists():  # what git ignores stayed
        copytree(tmp_path / "ml", tmp_path / "models" / "ml", symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(tmp_path / "ml")
    moved = workbench.elsewhere(tmp_path / "models" / "ml")
    moved.commit()
    moved.identical(run_id)


def test_a_run_of_a_project_without_src(workbench: TinyWorkbench, remote: Path, tmp_path: Path) -> None:
    flat = workbench.clone(remote, tmp_path / "flat")
    flat.git("mv", f"src/{PACKAGE}", PACKAGE)
    shutil.rmtree(flat.path / "src", ignore_errors=True)
    flat.commit()
    run_id = flat.train("flat", env={"PYTHONPATH": os.pathsep.join([str(flat.path), str(flat.machinery.parent)])})
    flat.identical(run_id)
