"""The news of an update: what the template's changelog says, what was changed by hand, which locks are behind."""

import re
import tomllib
from pathlib import Path
from typing import Any

from ..git.command import bytes_on_disk, git

MACHINERY = "packages/reproducibility"
_PYPROJECTS = ("pyproject.toml", f"{MACHINERY}/pyproject.toml")
_ENTRY = re.compile(r"^[-*] (.+(?:\n[ \t]+\S.*)*)", re.MULTILINE)


def entries(old: str, new: str) -> tuple[str, ...]:
    """Return the entries of the changelog *new* that the changelog *old* does not have, each on one line."""
    before = {" ".join(entry.split()) for entry in _ENTRY.findall(old)}
    return tuple(text for entry in _ENTRY.findall(new) if (text := " ".join(entry.split())) not in before)


def changed_by_hand(root: Path, old: Path) -> tuple[str, ...]:
    """Return the files of the machinery in the project at *root* that differ from the render *old*, added ones too."""
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", MACHINERY)
    here = {name for name in listed.decode("utf-8", "surrogateescape").split("\0") if name}
    given = {path.relative_to(old).as_posix() for path in (old / MACHINERY).rglob("*") if path.is_file()}
    return tuple(sorted(name for name in here | given if _differ(root / name, old / name)))


def _differ(here: Path, given: Path) -> bool:
    if not (here.is_file() and given.is_file()):
        return here.exists() != given.exists()
    return bytes_on_disk(here) != given.read_bytes()


def asks_for_other_packages(old: Path, new: Path) -> bool:
    """Whether the renders ask for different packages, so that the locks have to be made anew."""
    return any(_asked_for(old / name) != _asked_for(new / name) for name in _PYPROJECTS)


def _asked_for(pyproject: Path) -> list[Any]:
    if not pyproject.is_file():
        return []
    read = tomllib.loads(pyproject.read_text("utf-8"))
    project = read.get("project", {})
    keys = ("dependencies", "optional-dependencies", "requires-python")
    return [*(project.get(key) for key in keys), read.get("dependency-groups")]
