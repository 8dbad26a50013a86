"""A locked environment: the packages of a recorded run, installed from the run's own lock and kept for the next time.

Environments are kept for each user and not in each copy of a project. The key is the content: the digest of the lock,
the interpreter and the machine. So nothing is installed twice. The cache keeps the environments that were used last.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout
from platformdirs import user_cache_dir

from ..digest import canonical, digest
from ..display import say
from ..errors import refuse
from ..lockfile import LOCK
from ..secrets import recordable

# The folder of the cache, if the variable is set.
_CACHE_VARIABLE = "REPRODUCIBILITY_CACHE"
_MOST_KEPT = 10
# Written when an environment is complete; its time of modification is the time of the last use.
_COMPLETE = "complete"
# Variables that would lead a child process to another environment, to other packages, to another hash seed, or into a
# run that is open already.
_MISLEADING = (
    *("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "PYTHONHASHSEED"),
    *("PIP_TARGET", "PIP_PREFIX", "PIP_USER", "MLFLOW_RUN_ID"),
)
_PRINT_VERSION = "import platform; print(platform.python_implementation(), platform.python_version())"


def child_variables() -> dict[str, str]:
    """Return the environment variables of this process, without those that would mislead a child process."""
    return {name: value for name, value in os.environ.items() if name not in _MISLEADING}


def environment_cache() -> Path:
    """Return the folder of all environments: in the user's cache, or in the folder that REPRODUCIBILITY_CACHE names."""
    folder = os.environ.get(_CACHE_VARIABLE) or user_cache_dir("reproducibility", appauthor=False)
    return Path(folder).expanduser().absolute() / "environments"


def interpreter(environment: Mapping[str, Any], *, force: bool) -> Path:
    """Return a Python of the implementation and version that a manifest's *environment* names.

    Raises Refused when this machine has none. With *force* it returns the nearest version instead.
    """
    wanted = (environment["implementation"], environment["python"])
    if wanted == (platform.python_implementation(), platform.python_version()):
        return Path(sys.executable)
    candidates = _same_minor_version(wanted[1])
    for python in candidates:
        if _output(python, "-c", _PRINT_VERSION) == " ".join(wanted):
            return python
    if force:
        return next(iter(candidates), Path(sys.executable))
    here = f"{platform.python_implementation()} {platform.python_version()}"
    problem = f"the run was made with {' '.join(wanted)}, which is not on this machine (this is {here})"
    fix = f"install it, for instance with `uv python install {wanted[1]}`; or add --force to use another one, "
    refuse("interpreter", problem, fix + "which the verdict will name")


@contextmanager
def locked_environment(lock: bytes, python: Path, cache: Path) -> Iterator[Path]:
    """Give the Python of an environment with exactly the packages of *lock*, hashes checked, made with *python*.

    The environment stays in the folder *cache*; while the block runs, no other process removes it. If *cache* does not
    have it, it is installed: with uv, or with pip where there is no uv. An installation that fails or is interrupted
    leaves nothing; one that is killed leaves files that no later call uses. Raises Refused with the message of the
    installer.
    """
    identity = [digest(lock), _output(python, "-c", _PRINT_VERSION), platform.system(), platform.machine()]
    folder = cache / digest(canonical(identity)).removeprefix("blake3:")[:16]
    made = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    cache.mkdir(parents=True, exist_ok=True)
    with _guard(folder):
        # `made.exists` follows the link to the interpreter, which may have been removed since.
        if not ((folder / _COMPLETE).exists() and made.exists()):
            say(f"installing the packages of the run once, into {folder} ...")
            shutil.rmtree(folder, ignore_errors=True)
            try:
                _install(lock, python, folder, made)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        (folder / _COMPLETE).touch()
        use = FileLock(folder / f"{uuid4().hex}.use")
        use.acquire()
    try:
        _prune(cache)
        yield made
    finally:
        use.release()
        Path(use.lock_file).unlink(missing_ok=True)


def _guard(folder: Path, timeout: float = -1) -> FileLock:
    """Return the lock of an environment's *folder*: whoever makes or removes the environment holds it."""
    return FileLock(f"{folder}.lock", timeout=timeout)


def _prune(cache: Path) -> None:
    """Remove what *cache* need not keep: the least recently used environments, and what killed installations left."""
    folders = [path for path in cache.iterdir() if path.is_dir()]
    complete = [folder for folder in folders if (folder / _COMPLETE).exists()]
    kept = sorted(complete, key=_last_use, reverse=True)[:_MOST_KEPT]
    for folder in set(folders).difference(kept):
        # Whoever installs it holds the guard; whoever uses it holds a lock in it. A killed process holds neither.
        with suppress(Timeout), _guard(folder, timeout=0):
            for use in folder.glob("*.use"):
                with FileLock(use, timeout=0):
                    pass
            (folder / _COMPLETE).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)


def _last_use(folder: Path) -> float:
    try:
        return (folder / _COMPLETE).stat().st_mtime
    except FileNotFoundError:  # another process removes it just now
        return 0


def _install(lock: bytes, python: Path, folder: Path, made: Path) -> None:
    if uv := _uv():
        _run(uv, "venv", "--quiet", "--no-python-downloads", "--python", python, folder)
        install = [uv, "pip", "sync", "--quiet", "--python", made, "--require-hashes"]
    else:
        _run(python, "-m", "venv", folder)
        quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
        install = [made, "-m", "pip", "install", *quiet, "--require-hashes", "--requirement"]
    copy = folder / LOCK
    copy.write_bytes(lock)
    _run(*install, copy)


def _uv() -> str | None:
    """Return the uv on PATH, else the one beside this Python."""
    beside = Path(sys.executable).with_name("uv.exe" if os.name == "nt" else "uv")
    return shutil.which("uv") or (str(beside) if beside.exists() else None)


def _run(*command: str | Path) -> None:
    done = subprocess.run(list(map(str, command)), env=child_variables(), capture_output=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).decode("utf-8", "replace").split("\n")
        # uv draws its reasons as a tree.
        text = " ".join(re.sub(r"^[^\w'\"`(]+", "", line) for line in lines).strip()
        problem = f"the packages of the run cannot be installed: {recordable(text) or 'the installer gave no reason'}"
        refuse("environment", problem, "see that your package index still has what the run's lock names")


def _same_minor_version(version: str) -> list[Path]:
    """Return the interpreters on this machine with the minor version of *version*, those that uv manages included."""
    minor = ".".join(version.split(".")[:2])
    found = [
        Path(place)
        for folder in os.get_exec_path()
        if (place := shutil.which(f"python{minor}", path=folder)) is not None
    ]
    if (uv := _uv()) and (managed := _output(Path(uv), "python", "find", "--no-python-downloads", version)):
        found.append(Path(managed))
    return list(dict.fromkeys(found))


def _output(program: Path, *arguments: str) -> str:
    """Return what *program* prints, without the line end; empty if it fails, as pyenv's shims of other versions do."""
    try:
        done = subprocess.run([str(program), *arguments], capture_output=True, encoding="utf-8", check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
