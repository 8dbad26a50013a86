"""An existing repository as it is found: its folder in git, its layout, its packages, and what is installed for it."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from reproducibility.errors import refuse
from reproducibility.git.command import commit_id, git, work_tree

from .code import Code, read_code

MACHINERY = "packages/reproducibility"
_ENVIRONMENTS = (".venv", "venv", "env", ".env")
_VERSION = re.compile(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Installed:
    """An environment: where it is, its Python as ``3.11``, and its packages. It is read, and no program of it runs."""

    place: Path
    python: str
    packages: Mapping[str, str]


@dataclass(frozen=True)
class Repository:
    """What is known of the repository at *root*, a folder of the work tree *top*.

    sources: the files that name its requirements, the one that `requirements.txt` will be called included. builds: the
    build backend; None if it is no package.
    """

    root: Path
    top: Path
    folder: str
    commit: str
    files: tuple[str, ...]
    name: str
    layout: str
    builds: str | None
    sources: tuple[str, ...]
    code: Code

    def has(self, name: str) -> bool:
        return (self.root / name).exists()


def read_repository(path: Path) -> Repository:
    """Return what the repository at *path* is; raises Refused if it is in no git work tree, or has joined already."""
    root = path.resolve()
    if not root.is_dir():
        refuse("PATH", f"{path} is no folder", "name the folder of the repository, or of the project in it")
    tree = work_tree(root)
    if (commit := commit_id(root, "HEAD")) is None:
        refuse("PATH", "the repository has no commit yet", "commit its code first")
    files = tuple(os.fsdecode(git(root, "ls-files", "-z")).split("\0")[:-1])
    if any(name.startswith(f"{MACHINERY}/") for name in files):
        fix = "see docs/ramp.md in the project for what comes next"
        refuse("PATH", f"it has {MACHINERY} already, so it has joined", fix)
    pyproject = _pyproject(root)
    return Repository(
        root=root,
        top=tree.top,
        folder=tree.project,
        commit=commit,
        files=files,
        name=_name(root, pyproject),
        layout=_layout(root, tree.project, files),
        builds=_builds(root, pyproject),
        sources=_sources(root, pyproject),
        code=read_code(root, files),
    )


def find_environment(root: Path, python: Path | None) -> Installed | None:
    """Return the environment of *python*, else the one in *root*, else the active one; None if there is none."""
    active = os.environ.get("VIRTUAL_ENV")
    places = [python.parent.parent] if python else [*(root / name for name in _ENVIRONMENTS)]
    places += [Path(active)] if active and not python else []
    for place in places:
        settings = place / "pyvenv.cfg"
        version = _VERSION.search(settings.read_text("utf-8", "replace")) if settings.is_file() else None
        folders = [*place.glob("lib/python3.*/site-packages"), *place.glob("Lib/site-packages")]
        if version and folders:
            found = metadata.distributions(path=[str(folder) for folder in folders])
            packages = {canonicalize_name(each.metadata["Name"] or ""): each.version for each in found}
            return Installed(place, version[1], {name: packages[name] for name in sorted(packages) if name})
    if python:
        refuse("--python", f"{python} belongs to no virtual environment", "name the python of the one that trains")
    return None


def _pyproject(root: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        refuse("pyproject.toml", f"it cannot be read ({error})", "make it valid TOML")


def _name(root: Path, pyproject: Mapping[str, Any]) -> str:
    named = pyproject.get("project", {}).get("name") or root.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", str(named)).strip("-.") or "project"


def _layout(root: Path, folder: str, files: tuple[str, ...]) -> str:
    kind = "src" if any(re.fullmatch(r"src/[^/]+/.*\.py", name) for name in files) else "flat"
    packages = sum(name.endswith("pyproject.toml") for name in files)
    return f"{kind}, in the folder {folder} of a repository" if folder != "." else kind + ", monorepo" * (packages > 1)


def _builds(root: Path, pyproject: Mapping[str, Any]) -> str | None:
    if "project" in pyproject or "build-system" in pyproject:
        return str(pyproject.get("build-system", {}).get("build-backend", "setuptools.build_meta"))
    return "setuptools (setup.py)" if (root / "setup.py").is_file() else None


def _sources(root: Path, pyproject: Mapping[str, Any]) -> tuple[str, ...]:
    found = ["pyproject.toml"] if "project" in pyproject else []
    if (root / "requirements.in").is_file() or (root / "requirements.txt").is_file():
        found.append("requirements.in")
    return tuple(found)
