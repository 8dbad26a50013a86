"""Drift: a package that is not what the lock says is named, and refused where the policy says so."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from conftest import code_of
from reproducibility.errors import Refused
from reproducibility.provenance.environment import Drift, environment
from workbench import INSIDE, Workbench

LOCK = "click==8.1.7 \\\n    --hash=sha256:0000\nabsent==2.0 ; sys_platform == 'nowhere'\n"


def install(site: Path, name: str, version: str, source: dict | None = None, file: str | None = None) -> None:
    """Put a package with one *file* into the folder *site* as an installer does, with its metadata and its *source*."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    if file is not None:
        (site / file).parent.mkdir(exist_ok=True)
        (site / file).touch()
    record = [f"{name}-{version}.dist-info/METADATA,,", *([f"{file},,"] if file else [])]
    (info / "RECORD").write_text("\n".join(record), encoding="utf-8")
    if source is not None:
        (info / "direct_url.json").write_text(json.dumps(source), encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which Python now finds installed packages; click is there, as `root`'s lock has it."""
    folder = tmp_path / "site"
    install(folder, "click", "8.1.7")
    monkeypatch.setattr(sys, "path", [str(folder)])
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with the machinery in packages/, and a lock for users and one for tests."""
    folder = tmp_path / "project"
    (folder / "packages" / "reproducibility").mkdir(parents=True)
    (folder / "requirements.txt").write_text(LOCK, encoding="utf-8")
    (folder / "requirements-dev.txt").write_text("pytest==8.0 \\\n    --hash=sha256:0000\n", encoding="utf-8")
    (folder / "pyproject.toml").write_text("[project]\nname = 'My_Project'\n", encoding="utf-8")
    machinery = "[project]\nname = 'reproducibility'\n"
    (folder / "packages" / "reproducibility" / "pyproject.toml").write_text(machinery, encoding="utf-8")
    return folder


def drift(root: Path) -> list[str]:
    return [str(each) for each in environment(root).drift]


def test_what_the_locks_say_is_no_drift_and_neither_are_installers_and_test_tools(root: Path, site: Path) -> None:
    install(site, "pytest", "8.0")
    install(site, "pip", "24.0")
    assert drift(root) == []
    assert environment(root).packages == {"click": "8.1.7", "pip": "24.0", "pytest": "8.0"}


def test_another_version_is_drift_and_the_first_on_the_path_counts(root: Path, site: Path, tmp_path: Path) -> None:
    install(tmp_path / "before", "click", "0.0.1")
    sys.path.insert(0, str(tmp_path / "before"))
    assert environment(root).drift == (Drift("click", "8.1.7", "0.0.1"),)
    assert drift(root) == ["click is 0.0.1, the lock says 8.1.7"]


def test_a_package_in_no_lock_is_drift(root: Path, site: Path) -> None:
    install(site, "Left_Pad", "1.3")
    assert drift(root) == ["left-pad 1.3 is installed but in no lock"]


def test_the_same_version_from_elsewhere_is_drift_and_its_password_is_not_shown(
    root: Path, site: Path, tmp_path: Path
) -> None:
    source = {"url": "https://ada:secret@example.org/click.git", "dir_info": {}}
    install(tmp_path / "before", "click", "8.1.7", source)
    sys.path.insert(0, str(tmp_path / "before"))
    assert drift(root) == ["click is 8.1.7 from https://example.org/click.git, the lock says 8.1.7"]


@pytest.mark.parametrize(
    ("installed", "locked", "same"),
    [
        ("3.01.1", "3.1.1", True),
        ("2.0", "2.0.0", True),
        ("1.0RC1", "1.0rc1", True),
        ("2023c", "2023c", True),
        ("3.1.1", "3.1.10", False),
        ("2.3.0+cpu", "2.3.0", False),
        ("2023c", "2023.3", False),
    ],
)
def test_versions_are_compared_as_versions(installed: str, locked: str, same: bool, root: Path, site: Path) -> None:
    install(site, "left-pad", installed)
    (root / "requirements.txt").write_text(f"{LOCK}left-pad=={locked} --hash=sha256:0000\n", encoding="utf-8")
    assert drift(root) == ([] if same else [f"left-pad is {installed}, the lock says {locked}"])
    assert environment(root).packages["left-pad"] == installed


@pytest.mark.parametrize("name", ["~lick", "-lick", "~~ick", "~eft-pad"])
def test_what_an_installer_left_of_a_package_does_not_count(name: str, root: Path, site: Path, tmp_path: Path) -> None:
    install(tmp_path / "before", "click" if name.endswith("ick") else "left-pad", "0.0.1")
    (info,) = (tmp_path / "before").iterdir()
    info.rename(info.with_name(f"{name}-0.0.1.dist-info"))
    sys.path.insert(0, str(tmp_path / "before"))
    assert drift(root) == []
    assert environment(root).packages == {"click": "8.1.7"}


def refusal(root: Path) -> str:
    with pytest.raises(Refused) as refused:
        environment(root)
    assert {violation.key for violation in refused.value.violations} == {"environment"}
    assert refused.value.exit_code == 2
    return str(refused.value)


def test_metadata_that_cannot_be_read_is_refused_by_the_name_of_its_folder(root: Path, site: Path) -> None:
    install(site, "accents", "1.0")
    (site / "accents-1.0.dist-info" / "METADATA").write_bytes("Name: accents\nAuthor: Jörg\n".encode("latin-1"))
    install(site, "nameless", "1.0")
    (site / "nameless-1.0.dist-info" / "METADATA").write_text("Name: nameless\n", encoding="utf-8")
    message = refusal(root)
    fix = "To fix it: delete this folder, or install its package again"
    assert f"environment: {site}/accents-1.0.dist-info: its metadata is not UTF-8. {fix}" in message
    assert f"environment: {site}/nameless-1.0.dist-info: its metadata has no version. {fix}" in message


@pytest.mark.parametrize("content", [b"", b"no JSON", b"\xff", b"[]", b"null", b'{"url": 3}', b'{"dir_info": {}}'])
def test_an_unreadable_origin_of_a_package_is_refused_by_the_name_of_its_folder(
    content: bytes, root: Path, site: Path
) -> None:
    (site / "click-8.1.7.dist-info" / "direct_url.json").write_bytes(content)
    message = refusal(root)
    assert f"{site}/click-8.1.7.dist-info: its direct_url.json does not say from where it was installed" in message


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"dir_info": []}', '{"dir_info": {"editable": true}}'])
def test_an_unreadable_origin_makes_no_package_one_in_place(content: str, root: Path, site: Path) -> None:
    install(site, "my_project", "0.1.0", {}, "my_project/__init__.py")
    (site / "my_project-0.1.0.dist-info" / "direct_url.json").write_text(content, encoding="utf-8")
    assert drift(root) == [
        "my-project 0.1.0 (a copy, not the project's own files: nox -s dev) is installed but in no lock"
    ]


def test_a_missing_package_is_drift_and_one_of_another_platform_is_not(root: Path, site: Path) -> None:
    (root / "requirements.txt").write_text(f"{LOCK}left-pad==1.3 --hash=sha256:0000\n", encoding="utf-8")
    assert drift(root) == ["left-pad 1.3 is locked but not installed"]


@pytest.mark.parametrize("pointer", ["{}.pth", "__editable__.{}.pth", "__editable___{}_finder.py"])
def test_the_project_and_its_machinery_installed_in_place_are_no_drift(pointer: str, root: Path, site: Path) -> None:
    """Installers leave a pointer to the project's folder in the environment, and some of these are Python files."""
    for name, folder in (("my_project", root), ("reproducibility", root / "packages" / "reproducibility")):
        source = {"url": folder.as_uri(), "dir_info": {"editable": True}}
        install(site, name, "0.1.0", source, pointer.format(name))
    assert drift(root) == []


@pytest.mark.parametrize("name", ["my_project", "reproducibility"])
@pytest.mark.parametrize("from_index", [True, False])
def test_a_copy_of_the_project_or_of_its_machinery_is_drift(
    name: str, from_index: bool, root: Path, site: Path
) -> None:
    """Its code is that of the day on which it was installed, or of a stranger on the index."""
    source = None if from_index else {"url": root.as_uri(), "dir_info": {}}
    install(site, name, "0.1.0", source, f"{name}/__init__.py")
    shown = name.replace("_", "-")
    assert drift(root) == [
        f"{shown} 0.1.0 (a copy, not the project's own files: nox -s dev) is installed but in no lock"
    ]


@pytest.mark.parametrize("line", ["left-pad>=1.3", "left-pad", "./left-pad", "left-pad==1.3,!=1.4", "-r other.txt"])
def test_a_lock_that_leaves_a_version_open_is_refused(line: str, root: Path, site: Path) -> None:
    (root / "requirements.txt").write_text(f"{line}\n{LOCK}", encoding="utf-8")
    with pytest.raises(Refused) as refused:
        environment(root)
    assert f"lock_digest: requirements.txt:1 does not pin one version ({line!r})" in str(refused.value)


def test_a_project_without_a_lock_is_refused(root: Path, site: Path) -> None:
    (root / "requirements.txt").unlink()
    with pytest.raises(Refused) as refused:
        environment(root)
    assert "lock_digest: requirements.txt cannot be read" in str(refused.value)
    assert "nox -s lock" in str(refused.value)


def test_a_requirements_file_of_ones_own_does_not_matter(root: Path, site: Path) -> None:
    (root / "requirements-docs.txt").write_text("sphinx>=7\n", encoding="utf-8")
    assert drift(root) == []


# --- The same in runs.


@pytest.fixture
def workbench(run_in: Callable[..., CompletedProcess[str]], fresh_project: Path) -> Workbench:
    """A project with an experiment to start."""
    workbench = Workbench(run_in, fresh_project)
    workbench.add("click_command.py")
    workbench.commit()
    return workbench


def run_with_drift(workbench: Workbench) -> CompletedProcess[str]:
    """Start the experiment where there are another click, a package of no lock, and a copy of the machinery."""
    site = workbench.path.parent / "site"
    install(site, "click", "0.0.1")
    install(site, "left-pad", "1.3")
    install(site, "reproducibility", "0.0.9", file="copied/code.py")
    path = os.pathsep.join([str(site), code_of(workbench.path)])
    return workbench.run("python", "scripts/click_command.py", env={"PYTHONPATH": path})


def locked_click(workbench: Workbench) -> str:
    lines = (workbench.path / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("click==").split()[0] for line in lines if line.startswith("click=="))


def test_a_run_is_refused_for_every_drift_at_once_before_anything_is_computed(workbench: Workbench) -> None:
    done = run_with_drift(workbench)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"environment_drift: click is 0.0.1, the lock says {locked_click(workbench)}" in done.stderr
    assert "environment_drift: left-pad 1.3 is installed but in no lock" in done.stderr
    assert "environment_drift: reproducibility 0.0.9 (a copy, not the project's own files: nox -s dev)" in done.stderr
    assert done.stderr.count("environment_drift: ") == 3
    assert "nox -s dev installs what is locked" in done.stderr
    assert INSIDE not in done.stdout
    assert "Traceback" not in done.stderr
    assert not workbench.store.exists()


def test_a_package_that_cannot_be_read_is_named_by_a_run_and_by_plain_mlflow(workbench: Workbench) -> None:
    site = workbench.path.parent / "site"
    install(site, "accents", "1.0")
    (site / "accents-1.0.dist-info" / "METADATA").write_bytes("Name: accents\nAuthor: Jörg\n".encode("latin-1"))
    env = {"PYTHONPATH": os.pathsep.join([str(site), code_of(workbench.path)])}
    done = workbench.run("python", "scripts/click_command.py", env=env)
    assert (done.returncode, INSIDE in done.stdout, "Traceback" in done.stderr) == (2, False, False), done.stderr
    assert f"environment: {site}/accents-1.0.dist-info: its metadata is not UTF-8" in done.stderr
    done = workbench.script("plain_run.py", env=env)
    assert f"environment: {site}/accents-1.0.dist-info: its metadata is not UTF-8" in done.stderr


def test_many_packages_of_no_lock_are_one_line(workbench: Workbench) -> None:
    site = workbench.path.parent / "site"
    for number in range(9):
        install(site, f"tool{number}", "1.0")
    done = run_with_drift(workbench)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "environment_drift: 11 packages are installed but in no lock: left-pad 1.3, reproducibility" in done.stderr
    assert "and 6 more. To fix it: nox -s dev" in done.stderr
    assert done.stderr.count("environment_drift: ") == 2  # click's other version has a line of its own


def test_a_notebook_in_the_locked_environment_records_a_run(workbench: Workbench) -> None:
    done = workbench.script("notebook.py", fresh=True)
    assert (done.returncode, done.stdout.split()) == (0, ["ok"] * 3), done.stdout + done.stderr
    run = workbench.runs()["notebook"]
    assert (run.status, run.metrics) == ("FINISHED", {"loss": 1.0})


def test_drift_is_recorded_where_the_policy_says_so(workbench: Workbench) -> None:
    workbench.edit("configs/base.yaml", "environment_drift: refuse", "environment_drift: record")
    done = run_with_drift(workbench)
    assert done.returncode == 0, done.stderr
    assert INSIDE in done.stdout
    manifest = json.loads((workbench.runs()["run"].evidence / "manifest.json").read_text(encoding="utf-8"))
    recorded = manifest["environment"]
    # The environment has the tools of the tests too, from requirements-dev.txt.
    assert "pytest" in recorded["packages"]
    assert recorded["packages"]["click"] == "0.0.1"
    assert recorded["drift"] == [
        {"package": "click", "locked": locked_click(workbench), "installed": "0.0.1"},
        {"package": "left-pad", "locked": None, "installed": "1.3"},
        {
            "package": "reproducibility",
            "locked": None,
            "installed": "0.0.9 (a copy, not the project's own files: nox -s dev)",
        },
    ]


def test_what_the_base_of_an_image_brings_is_recorded_or_refused(workbench: Workbench) -> None:
    site, commit = workbench.path.parent / "site", workbench.git("rev-parse", "HEAD")
    install(site, "cudakit", "12.4")
    shutil.rmtree(workbench.path / ".git")  # an image has no repository
    env = {"PYTHONPATH": os.pathsep.join([str(site), code_of(workbench.path)]), "AUTHOR": "Ada <ada@example.org>"}

    def started(*brought: str) -> CompletedProcess[str]:
        listing = [{"name": name, "version": version} for name, version in (each.split() for each in brought)]
        workbench.write(".image-base.json", json.dumps(listing))
        workbench.run("repro", "bake", env=env | {"GIT_COMMIT": commit}, check=True)
        return workbench.run("python", "scripts/click_command.py", env=env)

    done = started("pip 24.0", "CudaKit 12.4", "click 8.0")
    assert done.returncode == 0, done.stderr
    (run,) = workbench.every_run()
    described = json.loads((run.evidence / "manifest.json").read_text("utf-8"))["environment"]
    assert (described["from_base"], described["drift"]) == (["cudakit"], [])
    assert described["packages"]["cudakit"] == "12.4"

    done = started("pip 24.0", "CudaKit 12.3")  # another version was installed over it
    assert (done.returncode, INSIDE in done.stdout) == (2, False)
    assert "environment_drift: cudakit 12.4 is installed but in no lock" in done.stderr

    workbench.edit("configs/base.yaml", "base_image_packages: record", "base_image_packages: refuse")
    done = started("CudaKit 12.4")
    assert (done.returncode, INSIDE in done.stdout) == (2, False)
    assert (
        "base_image_packages: the base of this image brings packages that are in no lock: cudakit 12.4" in done.stderr
    )
