"""The packages of a reproduction: the run's own lock, installed once for the user, in a cache that stays small."""

import base64
import hashlib
import os
import signal
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import NoReturn

import pytest
from reproducibility.errors import Refused
from reproducibility.reproduce import environment
from reproducibility.reproduce.environment import environment_cache, locked_environment
from reproductions import TinyWorkbench

PYTHON = Path(sys.executable)
# --- the cache


def installed(folder: Path) -> set[str]:
    """The names of the environments in a cache; their locks are files beside them."""
    return {path.name for path in folder.iterdir() if path.is_dir()}


def lock_of(number: int) -> bytes:
    """A lock without packages, unlike that of every other number."""
    return b"# lock %d\n" % number


@pytest.fixture
def fake_installer(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Instead of an environment only its interpreter is made; the list has the folder of each installation."""
    folders = []

    def install(lock: bytes, python: Path, folder: Path, made: Path) -> None:
        folders.append(folder)
        made.parent.mkdir(parents=True)
        made.touch()

    monkeypatch.setattr(environment, "_install", install)
    return folders


def test_the_cache_is_the_users_unless_a_variable_names_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("REPRODUCIBILITY_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert environment_cache() == tmp_path / "xdg" / "reproducibility" / "environments"
    assert environment_cache().parent.name in ("reproducibility", "Cache")
    monkeypatch.setenv("REPRODUCIBILITY_CACHE", str(tmp_path / "mine"))
    assert environment_cache() == tmp_path / "mine" / "environments"


def test_a_lock_is_installed_once(tmp_path: Path) -> None:
    for _ in range(2):
        with locked_environment(lock_of(1), PYTHON, tmp_path) as python:
            assert python.exists()
            (python.parent / "mark").touch()
    assert (python.parent / "mark").exists()
    with locked_environment(lock_of(2), PYTHON, tmp_path) as other:
        assert other != python
        assert not (other.parent / "mark").exists()


def test_the_environments_used_last_are_kept(fake_installer: list[Path], tmp_path: Path) -> None:
    for number in range(environment._MOST_KEPT):
        with locked_environment(lock_of(number), PYTHON, tmp_path):
            pass
        # What happens in one instant has no order.
        os.utime(fake_installer[-1] / environment._COMPLETE, (number, number))
    with locked_environment(lock_of(0), PYTHON, tmp_path):  # the oldest one is used again
        pass
    with locked_environment(lock_of(100), PYTHON, tmp_path):
        pass
    assert installed(tmp_path) == {folder.name for folder in fake_installer} - {fake_installer[1].name}


def test_an_environment_in_use_is_not_removed(fake_installer: list[Path], tmp_path: Path) -> None:
    with locked_environment(lock_of(0), PYTHON, tmp_path) as used:
        os.utime(fake_installer[0] / environment._COMPLETE, (1, 1))
        for number in range(1, environment._MOST_KEPT + 3):
            with locked_environment(lock_of(number), PYTHON, tmp_path):
                assert used.exists()
    with locked_environment(lock_of(200), PYTHON, tmp_path):
        assert not used.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_installation_that_fails_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: type[BaseException]
) -> None:
    def install(lock: bytes, python: Path, folder: Path, made: Path) -> NoReturn:
        made.parent.mkdir(parents=True)
        made.touch()
        raise error

    monkeypatch.setattr(environment, "_install", install)
    with pytest.raises(error), locked_environment(lock_of(0), PYTHON, tmp_path):
        raise AssertionError("an environment that could not be installed is used")
    assert installed(tmp_path) == set()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")
@pytest.mark.parametrize("next_lock", [0, 1], ids=["the same lock", "another lock"])
def test_what_a_killed_installation_leaves_is_not_used_and_removed(
    monkeypatch: pytest.MonkeyPatch, fake_installer: list[Path], tmp_path: Path, next_lock: int
) -> None:
    def killed(lock: bytes, python: Path, folder: Path, made: Path) -> None:
        made.parent.mkdir(parents=True)
        made.touch()
        (folder / "half").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(environment, "_install", killed)
        child = os.fork()
        if child == 0:
            try:
                with locked_environment(lock_of(0), PYTHON, tmp_path):
                    pass
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (left,) = installed(tmp_path)
    assert (tmp_path / left / "half").exists()
    with locked_environment(lock_of(next_lock), PYTHON, tmp_path) as python:
        assert python.exists()
    assert installed(tmp_path) == {fake_installer[0].name}
    assert not (fake_installer[0] / "half").exists()


def test_variables_of_this_process_do_not_mislead_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHASHSEED", "PIP_TARGET", "MLFLOW_RUN_ID"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("UV_INDEX_URL", "https://index.example.com")
    variables = environment.child_variables()
    assert "elsewhere" not in variables.values()
    assert variables["UV_INDEX_URL"] == "https://index.example.com"


def test_the_installers_reason_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lock = b"tinydep==3.0 --hash=sha256:" + b"0" * 64 + b"\n"
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    message = r"environment: the packages of the run cannot be installed: .*tinydep"
    with pytest.raises(Refused, match=message), locked_environment(lock, PYTHON, tmp_path):
        raise AssertionError("an environment that could not be installed is used")
    assert installed(tmp_path) == set()


# --- the packages of a run


def wheel(folder: Path, version: str) -> str:
    """Put a wheel of the package tinydep into *folder*; return the line of a lock that pins it."""
    info = f"tinydep-{version}.dist-info"
    files = {
        "tinydep.py": f"VALUE = {version}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tinydep\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={hashed(content)},{len(content)}\n" for name, content in files.items())
    path = folder / f"tinydep-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            archive.writestr(name, content)
    return f"tinydep=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def hashed(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()


class Shelf:
    """Wheels of the versions 1.0, 2.0 and 3.0 of tinydep. The last one is lost: only its line in a lock is left."""

    def __init__(self, folder: Path) -> None:
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        self.lines = {version: wheel(self.wheels, version) for version in ("1.0", "2.0", "3.0")}
        self.unpacked = {version: folder / version for version in self.lines}
        for version, place in self.unpacked.items():
            with zipfile.ZipFile(self.wheels / f"tinydep-{version}-py3-none-any.whl") as archive:
                archive.extractall(place)
        (self.wheels / "tinydep-3.0-py3-none-any.whl").unlink()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


class DependentWorkbench(TinyWorkbench):
    """A workbench in which tinydep is installed, in the version `installed`, beside the shared environment."""

    shelf: Shelf
    installed: str | None = None

    def run(self, *argv: str | Path, env: dict[str, str | None] | None = None, **options) -> CompletedProcess[str]:
        code = [self.path / "src", self.machinery.parent]
        code += [self.shelf.unpacked[self.installed]] if self.installed else []
        own = {"PYTHONPATH": os.pathsep.join(map(str, code)), "UV_FIND_LINKS": str(self.shelf.wheels)}
        return super().run(*argv, env=own | dict(env or {}), **options)

    def depend(self, version: str) -> None:
        """Commit a lock with *version* of tinydep, and install that version."""
        lock = self.path / "requirements.txt"
        lock.write_text(lock.read_text("utf-8") + self.shelf.lines[version], encoding="utf-8", newline="\n")
        self.commit()
        self.installed = version


@pytest.fixture
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, shelf: Shelf, tmp_path: Path
) -> DependentWorkbench:
    DependentWorkbench.shelf = shelf
    return DependentWorkbench.new(run_in, project, tmp_path)


def test_a_run_is_reproduced_with_its_own_lock_and_not_with_todays_packages(workbench: DependentWorkbench) -> None:
    without = workbench.train("without", script="dependent.py")
    workbench.edit("configs/base.yaml", "environment_drift: refuse", "environment_drift: record")
    workbench.depend("1.0")
    assert workbench.identical(without).metrics["dependency"] == 0
    # A package that was not the locked one is named.
    workbench.installed = "2.0"
    drifted = workbench.train("drifted", script="dependent.py")
    assert workbench.by_id(drifted).metrics["dependency"] == 2
    answer = workbench.reproduce(drifted)
    assert (answer.status, answer.differing) == (1, {("metric", "dependency")})
    named = [each for each in answer.report["input_differences"] if each["kind"] == "packages"]
    assert named == [{"kind": "packages", "name": "tinydep", "a": "2.0 (the lock says 1.0)", "b": "1.0"}]
    assert workbench.by_id(answer.report["reproduction"]).metrics["dependency"] == 1


def test_packages_that_cannot_be_obtained_are_named(workbench: DependentWorkbench, tmp_path: Path) -> None:
    workbench.depend("3.0")
    run_id = workbench.train("lost", script="dependent.py")
    message = workbench.refused(run_id, env={"REPRODUCIBILITY_CACHE": str(tmp_path / "cache")})
    assert "environment: the packages of the run cannot be installed: " in message
    assert "tinydep" in message
    assert installed(tmp_path / "cache" / "environments") == set()
