"""Code that a run imports and nobody could have again: a file that git ignores, a folder that is not in the project."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from laboratory import Laboratory

SCRIPT = """
import sys
from PACKAGE.reproducibility import tracked_run
if "early" in sys.argv:
    import __CODE__
with tracked_run({"experiment_name": "code", "seed": 1, "data": {"path": "data/penguins.csv"}}):
    import __CODE__
"""
LECTURE = """
import mlflow
from PACKAGE.reproducibility import log_reproducibility_info, validate_required_tags
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
def laboratory(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Laboratory:
    lab = Laboratory(run_in, Path(copytree(project, tmp_path_factory.mktemp("code") / project.name)))
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


def start(lab: Laboratory, script: str, *arguments: str, path: Path | None = None) -> CompletedProcess[str]:
    before = f"import sys; sys.path += [{str(lab.path / 'made')!r}, {str(path or lab.path.parent)!r}]; "
    before += f"sys.argv = ['scripts/{script}.py', *sys.argv[1:]]; sys.path.insert(0, 'scripts'); "
    before += "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    return lab.run("python", "-c", before, *arguments)


@pytest.mark.parametrize("where", sorted(WHERE))
def test_a_run_that_imports_it_on_the_way_does_not_finish(laboratory: Laboratory, where: str) -> None:
    done = start(laboratory, where)
    assert done.returncode == 1
    assert WHERE[where] in done.stderr
    assert laboratory.every_run()[-1].status == "FAILED"


@pytest.mark.parametrize("where", sorted(WHERE))
def test_a_run_that_imported_it_before_is_not_started(laboratory: Laboratory, where: str) -> None:
    before = len(laboratory.every_run())
    done = start(laboratory, where, "early")
    assert WHERE[where] in done.stderr
    assert len(laboratory.every_run()) == before


@pytest.mark.parametrize("where", sorted(WHERE))
def test_a_run_of_its_own_does_not_finish_either(laboratory: Laboratory, where: str) -> None:
    done = start(laboratory, f"{where}_lecture")
    assert WHERE[where] in done.stderr
    assert laboratory.every_run()[-1].status == "FAILED"


def test_what_the_patch_has_may_be_imported(laboratory: Laboratory) -> None:
    done = start(laboratory, "untracked")
    assert done.returncode == 0, done.stderr
    assert laboratory.every_run()[-1].status == "FINISHED"


def test_a_package_may_be_installed_in_another_folder_of_the_path(laboratory: Laboratory, tmp_path: Path) -> None:
    laboratory.write("scripts/installed.py", SCRIPT.replace("__CODE__", "installed_code"))
    laboratory.edit("requirements.txt", "zipp==", "installed-code==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\nzipp==")
    info = tmp_path / "installed_code-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-code\nVersion: 1.0\n", encoding="utf-8")
    (info / "RECORD").write_text("installed_code.py,,\n", encoding="utf-8")
    (tmp_path / "installed_code.py").write_text("X = 1\n", encoding="utf-8")
    (laboratory.path.parent / "outside_code.py").replace(tmp_path / "outside_code.py")
    done = start(laboratory, "installed", path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert WHERE["outside"] in start(laboratory, "outside", path=tmp_path).stderr
    (tmp_path / "outside_code.py").replace(laboratory.path.parent / "outside_code.py")
    laboratory.git("checkout", "--quiet", "requirements.txt")


def test_a_team_that_only_records_what_is_not_locked_may_import_from_elsewhere(laboratory: Laboratory) -> None:
    laboratory.edit("configs/base.yaml", "environment_drift: refuse", "environment_drift: record")
    try:
        done = start(laboratory, "outside")
    finally:
        laboratory.edit("configs/base.yaml", "environment_drift: record", "environment_drift: refuse")
    assert done.returncode == 0, done.stderr
