"""The code of a run: which commit runs, and which imported code is in no commit.

The git work tree says which commit runs. An image has no git: there the file RECORD says it, which the image's build
wrote. RECORD counts only while the code beside it has the same bytes as when it was built. So neither a variable of
the container nor a folder mounted over the code can pass for another commit.
"""

import json
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ..digest import digest
from ..display import listed
from ..errors import Violation, refuse
from ..git.command import bytes_on_disk
from ..git.settings import Settings
from ..git.state import GitState, git_ignored, git_state, is_in_commit
from ..secrets import without_credentials
from ..tags import COMMIT_ID

# In the root of the project in an image.
RECORD = ".image.json"
# What was installed in the base of an image, as `pip list` says it; the Dockerfile writes the file.
BASE_PACKAGES = ".image-base.json"
PATCH = ".image.patch"
BUILD_IT = "build it with `nox -s image`, or start the run with `nox -s train -- --container`, which builds it"
# Editors load their debugger into the process. A debugger computes nothing.
_DEBUGGERS = ("_pydev", "debugpy", "pydevd")
# No training reads documents, tests, checks and tools. In the folders of code, configs and data every file counts.
_COUNTS = re.compile(r"(configs|data|packages|scripts|src)/")
_BESIDE = re.compile(
    r"(tests|docs|\.github|\.ci)/.*|.*\.(md|rst)|LICENSE.*|noxfile\.py|Dockerfile|compose\.yaml|\.[\w.-]+"
    r"|requirements-\w+\.txt"
)


def code_state(root: Path, settings: Settings | None = None) -> GitState:
    """Return which code the project at *root* has; raises Refused where neither git nor an image can tell."""
    return _image_state(root) if inside_image(root) else git_state(root, settings)


def is_committed(root: Path, path: Path) -> bool:
    """Whether the commit has *path* with exactly the bytes that are on disk."""
    return _is_in_image(root, path) if inside_image(root) else is_in_commit(root, path)


def ignored_files(root: Path, files: Sequence[str]) -> list[str]:
    """Return which *files* of the project git ignores, relative to *root*; in an image there are none."""
    return [] if inside_image(root) else git_ignored(root, files)


def author_in_git(root: Path, settings: Settings) -> str | None:
    """Return who works here according to git, as ``name <email>``; None in an image, which has no git."""
    return None if inside_image(root) else settings.author


def builder_of_image(root: Path) -> str | None:
    """Return who built the image that runs, as ``name <email>``; None if that is unknown, and outside of an image."""
    return (_read(root).builder or None) if inside_image(root) else None


@dataclass(frozen=True)
class ImageRecord:
    """What an image was built from, and who built it.

    files: {posix path: digest} of every file beside the record but the data, which each run gives a version of its own.
    """

    commit: str
    branch: str
    remote: str
    files: dict[str, str]
    builder: str = ""  # unknown for older images


def inside_image(root: Path) -> bool:
    """Whether the project at *root* is the one in an image: it has a record, and no repository is around it."""
    return (root / RECORD).is_file() and not any((folder / ".git").exists() for folder in (root, *root.parents))


def _image_state(root: Path) -> GitState:
    """Return which code the image at *root* holds.

    Raises Refused when it was built without a commit, and when a file is not what the image was built from.
    """
    record = _read(root)
    if not COMMIT_ID.fullmatch(record.commit):
        how = f"with {record.commit[:80]!r} as its commit" if record.commit else "without saying from which commit"
        refuse("git_commit", f"this image was built {how}", BUILD_IT)
    # Only where the image has code: a data or store folder may be mounted beside it.
    now = files_in(root, sorted({name.partition("/")[0] for name in record.files}))
    if changed := sorted(name for name in record.files | now if record.files.get(name) != now.get(name)):
        problem = f"the code in this container is not what the image was built from: {listed(changed, 3)}"
        fix = "mount nothing over the code; build an image of the code that you want to run with `nox -s image`"
        refuse("git_commit", problem, fix)
    patch = (root / PATCH).read_bytes() if PATCH in record.files else b""
    return GitState(record.commit, record.branch or "detached", without_credentials(record.remote) or "none", patch)


def _is_in_image(root: Path, path: Path) -> bool:
    """Whether *path* came into the image at *root* from its commit; never if a patch came with it."""
    files = _read(root).files
    return PATCH not in files and path.is_relative_to(root) and path.relative_to(root).as_posix() in files


def image_name(root: Path) -> str:
    """Return the image that runs: its name for the engine (CONTAINER_IMAGE), else ``built:`` and its record's digest.

    Outside of an image it is ``none``, unless CONTAINER_IMAGE is set.
    """
    if named := os.environ.get("CONTAINER_IMAGE"):
        return named
    return f"built:{digest((root / RECORD).read_bytes())}" if inside_image(root) else "none"


def _read(root: Path) -> ImageRecord:
    return ImageRecord(**json.loads((root / RECORD).read_text("utf-8")))


def files_in(root: Path, names: Iterable[str]) -> dict[str, str]:
    """Return {posix path: digest} of every file in *root* that is, or is in, one of *names*."""
    found = {}
    for name in names:
        place = root / name
        if place.is_dir() and not place.is_symlink():
            inner = (f"{name}/{entry.name}" for entry in place.iterdir())
            found |= files_in(root, sorted(inner))
        elif os.path.lexists(place) and name != RECORD:
            found[name] = digest(bytes_on_disk(place))
    return found


def shapes_runs(path: str) -> bool:
    """Whether the file at *path*, relative to the project's root, can change a run, as far as its name shows."""
    return bool(_COUNTS.match(path)) or not _BESIDE.fullmatch(path)


def imported_files() -> frozenset[str]:
    """Return the files of the modules that were imported so far, without Python's own and those of installed packages.

    Modules that a library makes while it runs do not count: they come from the library's own code.
    """
    return frozenset(file for name, file in _imported() if not name.startswith(_DEBUGGERS))


def foreign_code(root: Path, imported: Iterable[str], *, outside: bool) -> Iterator[Violation]:
    """Yield a violation for those of the *imported* files that nobody could obtain later: files that git ignores.

    With *outside*, also for files that lie in neither the project nor an installed package.
    """
    top = os.path.join(root, "")
    inside = [file for file in imported if file.startswith(top)]
    elsewhere = set(imported).difference(inside)
    if ignored := ignored_files(root, inside):
        problem = f"{listed(sorted(ignored))} was imported, and git ignores it: no commit has it, and no patch"
        yield Violation("code", problem, "take it out of .gitignore, or do without it")
    if outside and elsewhere and (elsewhere := elsewhere - _installed_elsewhere()):
        problem = f"{listed(sorted(elsewhere))} was imported, and is neither in the project nor in its lock"
        fix = "move it into src/, or make it a package and add that to pyproject.toml; see PYTHONPATH"
        yield Violation("code", problem, fix)


# Of each module that was looked at before, by its name: its spec, and what `_unusual_file` returned for the spec. A
# module that was loaded anew has another spec.
_met: dict[str, tuple[Any, str | None]] = {}


def _imported() -> Iterator[tuple[str, str]]:
    """Yield the name and file of each module that comes neither with Python nor from an installed package."""
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__dict__", {}).get("__spec__")
        if (met := _met.get(name)) is None or met[0] is not spec:
            met = _met[name] = (spec, _unusual_file(spec))
        if met[1] and os.path.isfile(met[1]):
            yield name, met[1]


def _unusual_file(spec: Any) -> str | None:
    """Return the file of the module with this *spec*; None if it has none, or one in the usual places."""
    known, origin = _usual_places(), getattr(spec, "origin", None)
    if not isinstance(origin, str) or origin.startswith(known) or not getattr(spec, "has_location", False):
        return None
    file = os.path.realpath(origin)
    return None if file.startswith(known) else file


def _installed_elsewhere() -> set[str]:
    """Return the files of packages that are installed in another folder of sys.path; the lock judges those packages."""
    known = _usual_places()
    dists = [dist for dist in metadata.distributions() if not os.path.realpath(dist.locate_file("_")).startswith(known)]
    return {os.path.realpath(dist.locate_file(file)) for dist in dists for file in dist.files or ()}


@cache  # fixed when Python starts
def _usual_places() -> tuple[str, ...]:
    """Return the folders of Python's own modules and of installed packages, each with a slash at its end."""
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    return tuple({os.path.join(folder, "") for path in paths for folder in (path, os.path.realpath(path))})
