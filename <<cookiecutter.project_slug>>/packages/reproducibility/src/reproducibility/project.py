"""The project that the machinery serves: its root, the policy and defaults of its team, and its packages."""

import json
import os
import sys
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.utils import canonicalize_name

from .config import loader
from .config.loader import Config, load_section, read_defaults
from .errors import ProjectNotFound, refuse
from .lockfile import LOCK, pins
from .policy import Policy

C = TypeVar("C", bound=Config)

ROOT_VARIABLE = "REPRODUCIBILITY_PROJECT"
_BASE = Path("configs", "base.yaml")  # every project has one: it holds the team's policy


def find_root() -> Path:
    """Return the root of the project that is served: a folder with configs/base.yaml. The first of these counts:

    1. the folder that the variable REPRODUCIBILITY_PROJECT names;
    2. the nearest folder above this module, which lies in packages/ or in an environment inside the project;
    3. the folder from which a package of this environment is used in place (`pip install --editable`), or the nearest
       one above that folder.

    The working directory and argv[0] do not count: they depend on where a user stands, not on which code runs.

    Raises ProjectNotFound if there is none, and if packages are used in place from two projects.
    """
    if named := os.environ.get(ROOT_VARIABLE):
        root = Path(named).resolve()
        if not (root / _BASE).is_file():
            problem = f"{root} has no {_BASE.as_posix()}"
            refuse(ROOT_VARIABLE, problem, "name the folder of the project, or unset it", ProjectNotFound)
        return root
    if (above := _nearest(Path(__file__).resolve().parent)) is not None:
        return above
    in_place = (folder for each in metadata.distributions() if (folder := installed_in_place(each)) is not None)
    installed = sorted({root for folder in in_place if (root := _nearest(folder)) is not None})
    if len(installed) == 1:
        return installed[0]
    fix = f"install the project in place (pip install --editable .), or set {ROOT_VARIABLE} to its folder"
    if installed:
        found = " and ".join(map(str, installed))
        refuse("project", f"this environment has packages of several projects: {found}", fix, ProjectNotFound)
    refuse(
        "project", f"no folder with {_BASE.as_posix()} belongs to this environment ({sys.prefix})", fix, ProjectNotFound
    )


def _nearest(folder: Path) -> Path | None:
    return next((place for place in (folder, *folder.parents) if (place / _BASE).is_file()), None)


def installed_in_place(package: metadata.Distribution) -> Path | None:
    """Return the folder that this environment uses *package* from in place; None if it has a copy of the package."""
    try:
        source = json.loads(package.read_text("direct_url.json") or "{}")
        if not source.get("dir_info", {}).get("editable"):
            return None
        return Path(url2pathname(urlsplit(source["url"]).path)).resolve()
    except (ValueError, TypeError, KeyError, AttributeError):  # the file is damaged: see environment.py
        return None


PROJECT_ROOT = find_root()
BASE_CONFIG = PROJECT_ROOT / _BASE
# Results that can be computed again, kept to save time. Git ignores them.
CACHE = PROJECT_ROOT / ".cache"


def load(path: str | Path, model: type[C], overrides: Sequence[str] = ()) -> C:
    """Return the configuration in *path* as a *model*, with *overrides* such as ``model.max_depth=3`` applied.

    A relative path starts at the working folder, or at the project's root if the working folder has no such file: a
    notebook and an editor may run code in any folder. Otherwise as `config.loader.load`, which raises Refused with a
    violation for each key at fault.
    """
    return loader.load(config_file(path), model, overrides)


def config_file(path: str | Path) -> Path:
    """Return which file *path* means: see `load`. The file may be missing."""
    here, in_project = Path(path), PROJECT_ROOT / path
    return in_project if in_project.is_file() and not here.exists() else here


def team_policy(path: Path = BASE_CONFIG) -> Policy:
    """Read the section ``policy`` of configs/base.yaml; raises Refused when it is missing or wrong."""
    return load_section(path, "policy", Policy)


def team_defaults() -> dict[str, Any]:
    """Return the values of configs/base.yaml that every experiment starts from."""
    return read_defaults(BASE_CONFIG)


def locked_requirements() -> list[str]:
    """Return the pins of the lock for this interpreter, as ``name==version``: the requirements of a model trained here.

    Without hashes: MLflow adds lines of its own without a hash, and pip accepts hashes on all lines or on none.
    """
    return [f"{name}=={version}" for name, version in pins(LOCK, (PROJECT_ROOT / LOCK).read_bytes()).items()]


def own_packages(root: Path) -> dict[str, Path]:
    """Return {canonical name: folder} of the project at *root* and of the packages in its folder packages/.

    The project itself is left out if its pyproject.toml has no section ``project``, or if it has none of these files.
    Raises Refused when the pyproject.toml of a package does not name it.
    """
    folders = [file.parent for file in sorted(root.glob("packages/*/pyproject.toml"))]
    file = root / "pyproject.toml"
    if file.is_file() and _has_project(file.read_text("utf-8", "replace")):
        folders.insert(0, root)
    return {_name_in(folder / "pyproject.toml"): folder for folder in folders}


def project_name(root: Path) -> str:
    """Return the canonical name of the project at *root*; raises Refused when its pyproject.toml does not name it."""
    return _name_in(root / "pyproject.toml")


def _name_in(file: Path) -> str:
    try:
        return _name(file.read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        refuse("pyproject.toml", f"{file} does not name the project ({error})", "git checkout pyproject.toml")


@lru_cache(maxsize=8)
def _has_project(pyproject: str) -> bool:
    try:
        return "project" in tomllib.loads(pyproject)
    except tomllib.TOMLDecodeError:
        return True  # `_name_in` says what is wrong


@lru_cache(maxsize=8)  # by the whole text: each run in a process reads the files anew
def _name(pyproject: str) -> str:
    return canonicalize_name(tomllib.loads(pyproject)["project"]["name"])
