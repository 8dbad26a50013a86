"""The imported code: which modules this process runs that neither the commit, nor its patch, nor the lock has."""

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from . import source
from .place import one_line
from .violation import Violation

# Editors put their debugger into a process. It computes nothing.
_DEBUGGERS = ("_pydev", "debugpy", "pydevd")
_SHOWN = 5


def foreign_code(root: Path, *, outside: bool) -> Iterator[Violation]:
    """Yield what keeps the imported code from being had again: files that git ignores and, asked for, others' folders.

    Only what Python's own import found counts: what a library generates while it runs comes from its code.
    """
    imported = [file for name, file in _imported() if not name.startswith(_DEBUGGERS)]
    inside = [file for file in imported if file.is_relative_to(root)]
    elsewhere = set(imported).difference(inside)
    if ignored := source.ignored(root, inside):
        problem = f"{_named(ignored)} was imported, and git ignores it: no commit has it, and no patch"
        yield Violation("code", problem, "take it out of .gitignore, or do without it")
    if outside and elsewhere and (elsewhere := elsewhere - _installed_elsewhere()):
        problem = f"{_named(map(str, elsewhere))} was imported, and is neither in the project nor in its lock"
        fix = "move it into src/, or make it a package and add that to pyproject.toml; see PYTHONPATH"
        yield Violation("code", problem, fix)


def _imported() -> Iterator[tuple[str, Path]]:
    """Yield the name and file of each module that comes neither with Python nor from an installed package."""
    known = _usual_places()
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__dict__", {}).get("__spec__")
        if getattr(spec, "has_location", False) and not spec.origin.startswith(known):
            file = os.path.realpath(spec.origin)
            if os.path.isfile(file) and not file.startswith(known):
                yield name, Path(file)


def _installed_elsewhere() -> set[Path]:
    """Return the files of packages that are installed in another folder of the path; the lock is asked about those."""
    known = _usual_places()
    dists = [dist for dist in metadata.distributions() if not os.path.realpath(dist.locate_file("_")).startswith(known)]
    return {Path(os.path.realpath(dist.locate_file(file))) for dist in dists for file in dist.files or ()}


def _usual_places() -> tuple[str, ...]:
    """Return where Python's own modules and those of installed packages lie, each with a slash at its end."""
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    return tuple({os.path.join(folder, "") for path in paths for folder in (path, os.path.realpath(path))})


def _named(files: Iterable[str]) -> str:
    files = sorted(files)
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return ", ".join(one_line(file, 200) for file in files[:_SHOWN]) + more
