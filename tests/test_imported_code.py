"""Code that a run imports and nobody could have again: a file that git ignores, a folder that is not in the project."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from workbench import Workbench

SCRIPT = """
import sys
from reproducibility import tracked_run
if "early" in sys.argv:
    import __CODE__
with tracked_run({"experiment_name": "code", "seed": 1, "data": {"path": "data/penguins.csv"}}):
    import __CODE__
"""
LECTURE = """
import mlflow
from reproducibility import log_reproducibility_info, validate_required_tags
with mlflow.start_run():
    log_reproducibility_info()
    import __CODE__
    validate_required_tags()
"""
WHERE = {
    "ignored": "made/ignored_code.py was imported, and git ignores it",
    "outside": "outside_code.py was imported, and is neither in the project nor in its lock",
}


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    lab = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("code") / project.name)))
    lab.write(".gitignore", lab.path.joinpath(".gitignore").read_text("utf-8") + "/made/\n")
    lab.write("made/ignored_code.py", "X = 1\n")
    lab.write("made/untracked_code.py", "X = 1\n")
    (lab.path.parent / "outside_code.py").write_text("X = 1\n", encoding="utf-8")
    for where in (*WHERE, "untracked"):
        lab.write(f"scripts/{where}.py", SCRIPT.replace("__CODE__", f"{where}_code"))
        lab.write(f"scripts/{where}_lecture.py", LECTURE.replace("__CODE__", f"{where}_code"))
    lab.write("scripts/untracked_code.py", "X = 1\n")
    lab.commit()
    lab.write("scripts/untracked_code.py", "X = 2\n")
    return lab


def start(lab: Workbench, script: str, *arguments: str, path: Path | None = None) -> CompletedProcess[str]:
    before = f"import sys; sys.path += [{str(lab.path / 'made')!r}, {str(path or lab.path.parent)!r}]; "
    before += f"sys.argv = ['scripts/{script}.py', *sys.argv[1:]]; sys.path.insert(0, 'scripts'); "
    before += "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    return lab.run("python", "-c", before, *arguments)


@pytest.mark.parametrize("where", sorted(WHERE))
def test_a_run_that_imports_it_on_the_way_does_not_finish(workbench: Workbench, where: str) -> None:
    done = start(workbench, where)
    assert done.returncode == 1
    assert WHERE[where] in done.stderr
    assert workbench.every_run()[-1].status == "FAILED"


@pytest.mark.parametrize("where", sorted(WHERE))
def test_a_run_that_imported_it_before_is_not_started(workbench: Workbench, where: str) -> None:
    before = len(workbench.every_run())
    done = start(workbench, where, "early")
    assert WHERE[where] in done.stderr
    assert len(workbench.every_run()) == before


@pytest.mark.parametrize("where", sorted(WHERE))
def test_a_run_of_its_own_does_not_finish_either(workbench: Workbench, where: str) -> None:
    done = start(workbench, f"{where}_lecture")
    assert WHERE[where] in done.stderr
    assert workbench.every_run()[-1].status == "FAILED"


def test_what_the_patch_has_may_be_imported(workbench: Workbench) -> None:
    done = start(workbench, "untracked")
    assert done.returncode == 0, done.stderr
    assert workbench.every_run()[-1].status == "FINISHED"


def test_a_package_may_be_installed_in_another_folder_of_the_path(workbench: Workbench, tmp_path: Path) -> None:
    workbench.write("scripts/installed.py", SCRIPT.replace("__CODE__", "installed_code"))
    workbench.edit("requirements.txt", "zipp==", "installed-code==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\nzipp==")
    info = tmp_path / "installed_code-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-code\nVersion: 1.0\n", encoding="utf-8")
    (info / "RECORD").write_text("installed_code.py,,\n", encoding="utf-8")
    (tmp_path / "installed_code.py").write_text("X = 1\n", encoding="utf-8")
    (workbench.path.parent / "outside_code.py").replace(tmp_path / "outside_code.py")
    done = start(workbench, "installed", path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert WHERE["outside"] in start(workbench, "outside", path=tmp_path).stderr
    (tmp_path / "outside_code.py").replace(workbench.path.parent / "outside_code.py")
    workbench.git("checkout", "--quiet", "requirements.txt")


def test_a_team_that_only_records_what_is_not_locked_may_import_from_elsewhere(workbench: Workbench) -> None:
    workbench.edit("configs/base.yaml", "environment_drift: refuse", "environment_drift: record")
    try:
        done = start(workbench, "outside")
    finally:
        workbench.edit("configs/base.yaml", "environment_drift: record", "environment_drift: refuse")
    assert done.returncode == 0, done.stderr
