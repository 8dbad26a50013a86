"""Imported code that nobody could obtain later: a file that git ignores, a file outside of the project."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from conftest import code_of
from workbench import Workbench

PROBLEMS = {
    "ignored_code": "made/ignored_code.py was imported, and git ignores it",
    "outside_code": "elsewhere/outside_code.py was imported, and is neither in the project nor in its lock",
}


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    """A project with code of every kind: changed, untracked, ignored, installed elsewhere, outside of the project."""
    workbench = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("code") / project.name)))
    workbench.edit(".gitignore", "__pycache__/", "__pycache__/\n/made/")
    locked = "installed-code==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\nzipp=="
    workbench.edit("requirements.txt", "zipp==", locked)
    workbench.add("attempts.py", "import_code.py")
    workbench.write("scripts/changed_code.py", "X = 1\n")
    workbench.commit()
    elsewhere = workbench.path.parent / "elsewhere"
    for file in ("scripts/changed_code.py", "scripts/untracked_code.py", "made/ignored_code.py"):
        workbench.write(file, "X = 2\n")
    for module in ("outside_code", "installed_code"):
        workbench.write(f"{elsewhere}/{module}.py", "X = 2\n")
    metadata = "Metadata-Version: 2.1\nName: installed-code\nVersion: 1.0\n"
    workbench.write(f"{elsewhere}/installed_code-1.0.dist-info/METADATA", metadata)
    workbench.write(f"{elsewhere}/installed_code-1.0.dist-info/RECORD", "installed_code.py,,\n")
    return workbench


@pytest.fixture(scope="module")
def errors(workbench: Workbench) -> dict[str, str | None]:
    """What each run of scripts/import_code.py raised, by its name; None if nothing."""
    folders = [code_of(workbench.path), str(workbench.path / "made"), str(workbench.path.parent / "elsewhere")]
    done = workbench.run("python", "scripts/import_code.py", env={"PYTHONPATH": os.pathsep.join(folders)})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", PROBLEMS)
def test_a_run_that_imports_it_on_the_way_does_not_finish(
    module: str, workbench: Workbench, errors: dict[str, str | None]
) -> None:
    assert errors[f"{module} inside"].startswith("code: ")
    assert PROBLEMS[module] in errors[f"{module} inside"]
    assert workbench.runs()[f"{module} inside"].status == "FAILED"


@pytest.mark.parametrize("module", PROBLEMS)
def test_a_run_that_imported_it_before_is_not_started(
    module: str, workbench: Workbench, errors: dict[str, str | None]
) -> None:
    assert errors[f"{module} before"].startswith("code: ")
    assert PROBLEMS[module] in errors[f"{module} before"]
    assert f"{module} before" not in workbench.runs()


@pytest.mark.parametrize("module", PROBLEMS)
def test_a_run_that_the_experiment_starts_itself_does_not_finish_either(
    module: str, workbench: Workbench, errors: dict[str, str | None]
) -> None:
    assert PROBLEMS[module] in errors[f"{module} own run"]
    assert workbench.runs()[f"{module} own run"].status == "FAILED"


@pytest.mark.parametrize("module", ["changed_code", "untracked_code"])
def test_what_the_patch_has_may_be_imported(module: str, workbench: Workbench, errors: dict[str, str | None]) -> None:
    assert errors[f"{module} inside"] is None
    assert workbench.runs()[f"{module} inside"].status == "FINISHED"


def test_a_package_may_be_installed_in_another_folder_of_the_path(
    workbench: Workbench, errors: dict[str, str | None]
) -> None:
    """The same folder has a file of no package: that one may not be imported, as the tests above show."""
    assert errors["installed_code inside"] is None
    assert workbench.runs()["installed_code inside"].status == "FINISHED"


def test_a_team_that_only_records_what_is_not_locked_may_import_from_elsewhere(
    workbench: Workbench, errors: dict[str, str | None]
) -> None:
    assert errors["outside_code recorded"] is None
    assert workbench.runs()["outside_code recorded"].status == "FINISHED"


def test_what_git_ignores_since_the_last_run_of_the_process_is_found(workbench: Workbench) -> None:
    workbench.write("scripts/later_ignored.py", "X = 1\n")
    before = (workbench.path / ".gitignore").read_text("utf-8")
    folders = [code_of(workbench.path), *(str(workbench.path / each) for each in ("scripts", "../elsewhere"))]
    try:
        done = workbench.script("ignore_imported_code.py", env={"PYTHONPATH": os.pathsep.join(folders)})
    finally:
        workbench.write(".gitignore", before)
        (workbench.path / "scripts" / "later_ignored.py").unlink()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("code: scripts/later_ignored.py was imported, and git ignores it")
