"""A locked environment: the packages of a recorded run, installed from the lock it carried, and kept for the next time.

Kept by the digest of the lock, the interpreter and the machine, so that the second time nothing is installed.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..digest import canonical, digest
from ..display import say
from ..errors import Refused, Violation
from ..secrets import recordable

# What would make an installer work on another environment than the one it is given.
_MISLEADING = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")
_ASK = "import platform; print(platform.python_implementation(), platform.python_version())"
_WHOLE = "whole"


def interpreter(environment: Mapping[str, Any], *, force: bool) -> Path:
    """Return a Python of the implementation and version that a manifest's *environment* names.

    Raises Refused when there is none; with *force* the nearest one there is comes back instead.
    """
    wanted = (environment["implementation"], environment["python"])
    if wanted == (platform.python_implementation(), platform.python_version()):
        return Path(sys.executable)
    near = _near(wanted[1])
    for python in near:
        if _answer(python, "-c", _ASK) == " ".join(wanted):
            return python
    if force:
        return next(iter(near), Path(sys.executable))
    here = f"{platform.python_implementation()} {platform.python_version()}"
    problem = f"the run was made with {' '.join(wanted)}, which is not on this machine (this is {here})"
    fix = f"install it, for instance with `uv python install {wanted[1]}`; or add --force to go on with another one, "
    raise Refused([Violation("interpreter", problem, fix + "which the verdict will name")])


def locked_environment(lock: bytes, python: Path, cache: Path) -> Path:
    """Return the Python of an environment with exactly the packages of *lock*, hashes checked, made with *python*.

    Made where there is none in the folder *cache* yet: with uv, or with pip where there is no uv. Whatever ends it
    half-way, an interruption included, leaves nothing that a later call would take for whole. Raises Refused with the
    installer's own words.
    """
    identity = [digest(lock), _answer(python, "-c", _ASK), platform.system(), platform.machine()]
    folder = cache / digest(canonical(identity)).removeprefix("blake3:")[:16]
    made = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        # The mark comes last, and `exists` follows the link to an interpreter that may have been removed since.
        if not ((folder / _WHOLE).exists() and made.exists()):
            say("installing the packages of the run, once ...")
            shutil.rmtree(folder, ignore_errors=True)
            try:
                _install(lock, python, folder, made)
                (folder / _WHOLE).touch()
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    return made


def _install(lock: bytes, python: Path, folder: Path, made: Path) -> None:
    if uv := _uv():
        _run(uv, "venv", "--quiet", "--no-python-downloads", "--python", python, folder)
        # Compiled, as pip does it too: the environment is made once, and imports then take a third of the time.
        install = [uv, "pip", "sync", "--quiet", "--compile-bytecode", "--python", made, "--require-hashes"]
    else:
        _run(python, "-m", "venv", folder)
        quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
        install = [made, "-m", "pip", "install", *quiet, "--require-hashes", "--requirement"]
    copy = folder / "requirements.txt"
    copy.write_bytes(lock)
    _run(*install, copy)


def _uv() -> str | None:
    """uv as it is on PATH, or installed beside this Python."""
    beside = Path(sys.executable).with_name("uv.exe" if os.name == "nt" else "uv")
    return shutil.which("uv") or (str(beside) if beside.exists() else None)


def _run(*command: str | Path) -> None:
    variables = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    done = subprocess.run(list(map(str, command)), env=variables, capture_output=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).decode("utf-8", "replace").split("\n")
        # uv draws its reasons as a tree.
        told = recordable(" ".join(re.sub(r"^[^\w'\"`(]+", "", line) for line in lines).strip()) or "it gave no reason"
        fix = "the run's lock names these packages: see that they can still be had from the package index you use"
        raise Refused([Violation("environment", f"the packages of the run cannot be installed: {told}", fix)])


def _near(version: str) -> list[Path]:
    """Return the interpreters of the same minor *version* that this machine offers, uv's own among them."""
    minor = ".".join(version.split(".")[:2])
    found = [
        Path(place)
        for folder in os.get_exec_path()
        if (place := shutil.which(f"python{minor}", path=folder)) is not None
    ]
    if (uv := _uv()) and (managed := _answer(Path(uv), "python", "find", "--no-python-downloads", version)):
        found.append(Path(managed))
    return list(dict.fromkeys(found))


def _answer(program: Path, *arguments: str) -> str:
    """Return what *program* prints, without line end; empty where it fails (pyenv's shims of other versions do)."""
    try:
        done = subprocess.run([str(program), *arguments], capture_output=True, encoding="utf-8", check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
