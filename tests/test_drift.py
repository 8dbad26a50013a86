"""Drift: what is installed and not what the lock says is named, and refused where the policy says so."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from workbench import INSIDE, Workbench

SCRIPT = f"""
import json, sys
import click
from reproducibility import tracked_run

VALUES = {{"experiment_name": "drift", "seed": 1, "data": {{"path": "data/penguins.csv"}}}}

@click.command()
def main():
    with tracked_run(VALUES, run_name="run"):
        print({INSIDE!r})

main()
"""
LOCKED = "click"  # a package that every lock of the template has


@pytest.fixture
def workbench(run_in: Callable[..., CompletedProcess[str]], fresh_project: Path) -> Workbench:
    workbench = Workbench(run_in, fresh_project)
    workbench.write("scripts/attempt.py", SCRIPT)
    workbench.commit()
    return workbench


def install(folder: Path, name: str, version: str, source: str | None = None) -> None:
    """Put a package of this name and version where Python finds it before any other."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    if source is not None:
        (info / "direct_url.json").write_text(json.dumps({"url": source, "dir_info": {}}), encoding="utf-8")


def attempt(workbench: Workbench, *first: Path) -> CompletedProcess[str]:
    path = [*map(str, first), str(workbench.path / "src")]
    return workbench.run("python", "scripts/attempt.py", env={"PYTHONPATH": os.pathsep.join(path)})


def refused(workbench: Workbench, *first: Path) -> str:
    done = attempt(workbench, *first)
    assert done.returncode == 2, done.stdout + done.stderr
    assert INSIDE not in done.stdout
    assert "Traceback" not in done.stderr
    assert not workbench.store.exists()
    return done.stderr


def locked_version(workbench: Workbench, name: str) -> str:
    lines = (workbench.path / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix(f"{name}==").split()[0] for line in lines if line.startswith(f"{name}=="))


def test_another_version_is_refused(workbench: Workbench, tmp_path: Path) -> None:
    install(tmp_path / "site", LOCKED, "0.0.1")
    said = refused(workbench, tmp_path / "site")
    assert f"environment_drift: {LOCKED} is 0.0.1, the lock says {locked_version(workbench, LOCKED)}" in said
    assert "nox -s dev" in said


def test_a_package_in_no_lock_is_refused(workbench: Workbench, tmp_path: Path) -> None:
    install(tmp_path / "site", "Left_Pad", "1.3")
    assert "environment_drift: left-pad 1.3 is installed but in no lock" in refused(workbench, tmp_path / "site")


def test_the_same_version_from_a_folder_is_refused_without_its_password(workbench: Workbench, tmp_path: Path) -> None:
    version = locked_version(workbench, LOCKED)
    install(tmp_path / "site", LOCKED, version, source="https://ada:secret@example.org/click.git")
    said = refused(workbench, tmp_path / "site")
    assert f"{LOCKED} is {version} from https://example.org/click.git, the lock says {version}" in said
    assert "secret" not in said


def test_a_missing_package_is_refused_and_one_of_another_platform_is_not(workbench: Workbench) -> None:
    lock = (workbench.path / "requirements.txt").read_text(encoding="utf-8")
    lock += "left-pad==1.3 \\\n    --hash=sha256:0000\nright-pad==1.4 ; sys_platform == 'nowhere'\n"
    workbench.write("requirements.txt", lock)
    said = refused(workbench)
    assert "environment_drift: left-pad 1.3 is locked but not installed" in said
    assert "right-pad" not in said


@pytest.mark.parametrize("line", ["left-pad>=1.3", "left-pad", "./left-pad", "left-pad==1.3,!=1.4", "-r other.txt"])
def test_a_lock_that_leaves_a_version_open_is_refused(workbench: Workbench, line: str) -> None:
    lock = (workbench.path / "requirements.txt").read_text(encoding="utf-8")
    workbench.write("requirements.txt", f"{line}\n{lock}")
    assert f"lock_digest: requirements.txt:1 does not pin one version ({line!r})" in refused(workbench)


def test_a_project_without_a_lock_is_refused(workbench: Workbench) -> None:
    (workbench.path / "requirements.txt").unlink()
    said = refused(workbench)
    assert "lock_digest: requirements.txt cannot be read" in said
    assert "nox -s lock" in said


def test_drift_is_recorded_where_the_policy_says_so_and_test_tools_are_none(
    workbench: Workbench, tmp_path: Path
) -> None:
    workbench.edit("configs/base.yaml", "environment_drift: refuse", "environment_drift: record")
    install(tmp_path / "site", LOCKED, "0.0.1")
    install(tmp_path / "site", "left-pad", "1.3")
    done = attempt(workbench, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    run = workbench.runs()["run"]
    manifest = json.loads((run.evidence / "manifest.json").read_text(encoding="utf-8"))
    # pytest and the like are in requirements-dev.txt and installed beside: they are named as installed, not as drift
    assert "pytest" in manifest["environment"]["packages"]
    assert manifest["environment"]["packages"][LOCKED] == "0.0.1"
    assert manifest["environment"]["drift"] == [
        {"package": LOCKED, "locked": locked_version(workbench, LOCKED), "installed": "0.0.1"},
        {"package": "left-pad", "locked": None, "installed": "1.3"},
    ]


def test_a_requirements_file_of_ones_own_is_none_of_its_business(workbench: Workbench) -> None:
    workbench.write("requirements-docs.txt", "sphinx>=7\n")
    workbench.commit()
    assert attempt(workbench).returncode == 0
