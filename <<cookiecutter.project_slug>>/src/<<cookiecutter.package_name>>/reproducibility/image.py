"""An image: the code in it, as it was when it was built, and whether that is still what runs.

There is no git in an image. What the build wrote into RECORD is believed instead, and only as long as the code beside
it is the same to the byte: variables given to a container and folders mounted over the code change nothing of it.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from .blob import bytes_on_disk
from .digest import digest
from .git import GitState
from .url import without_credentials
from .violation import Refused, Violation

# Beside the code, in the image's root of the project.
RECORD = ".image.json"
PATCH = ".image.patch"
_BUILD = "build it with `nox -s image`, or start the run with `nox -s train -- --container`, which builds it"
_SHOWN = 3


@dataclass(frozen=True)
class _Record:
    """What an image was built from; `files` is {posix path: digest} of everything beside it."""

    commit: str
    branch: str
    remote: str
    files: dict[str, str]


def inside(root: Path) -> bool:
    """Tell whether the project at *root* is the one in an image: it has a record, and no repository around it."""
    return (root / RECORD).is_file() and not any((folder / ".git").exists() for folder in (root, *root.parents))


def bake(root: Path) -> None:
    """Write RECORD, as a step of the build, from GIT_COMMIT, GIT_BRANCH and GIT_REMOTE and from all files in *root*.

    Raises Refused when GIT_DIRTY or LOCK_DIGEST say something else than the files do.
    """
    given = {name: os.environ.get(name, "") for name in ("GIT_COMMIT", "GIT_BRANCH", "GIT_REMOTE")}
    record = _Record(*given.values(), files=_files(root, sorted(path.name for path in root.iterdir())))
    dirty = "true" if PATCH in record.files else "false"
    for name, found in (("GIT_DIRTY", dirty), ("LOCK_DIGEST", record.files["requirements.txt"])):
        if os.environ.get(name, "") not in ("", found):
            raise Refused([Violation(name, f"it is {os.environ[name]!r}, but the files say {found}", _BUILD)])
    (root / RECORD).write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")


def state(root: Path) -> GitState:
    """Return which code the image at *root* holds.

    Raises Refused when it was built without a commit, and when a file is not what the image was built from.
    """
    record = _read(root)
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", record.commit):
        told = f"with {record.commit[:80]!r} as its commit" if record.commit else "without saying from which commit"
        raise Refused([Violation("git_commit", f"this image was built {told}", _BUILD)])
    # Of the places that the code has, so that a mounted data or store folder counts for nothing.
    now = _files(root, sorted({name.partition("/")[0] for name in record.files}))
    if changed := sorted(name for name in record.files | now if record.files.get(name) != now.get(name)):
        named = ", ".join(changed[:_SHOWN]) + (f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else "")
        problem = f"the code in this container is not what the image was built from: {named}"
        fix = "mount nothing over the code; build an image of the code that you want to run with `nox -s image`"
        raise Refused([Violation("git_commit", problem, fix)])
    patch = (root / PATCH).read_bytes() if PATCH in record.files else b""
    return GitState(record.commit, record.branch or "detached", without_credentials(record.remote) or "none", patch)


def is_committed(root: Path, path: Path) -> bool:
    """Tell whether *path* came into the image at *root* from a commit; never with a patch, which may have made it."""
    files = _read(root).files
    return PATCH not in files and path.is_relative_to(root) and path.relative_to(root).as_posix() in files


def identity(root: Path) -> str:
    """Return which image runs: what the engine calls it (CONTAINER_IMAGE), else `built:` and its record's digest.

    Outside of an image it is `none`, unless CONTAINER_IMAGE is set.
    """
    itself = f"built:{digest((root / RECORD).read_bytes())}" if inside(root) else "none"
    return os.environ.get("CONTAINER_IMAGE") or itself


def _read(root: Path) -> _Record:
    return _Record(**json.loads((root / RECORD).read_text("utf-8")))


def _files(root: Path, names: Iterable[str]) -> dict[str, str]:
    """Return {posix path: digest} of every file in *root* that is, or is in, one of *names*."""
    found = {}
    for name in names:
        place = root / name
        if place.is_dir() and not place.is_symlink():
            inner = (f"{name}/{entry.name}" for entry in place.iterdir())
            found |= _files(root, sorted(inner))
        elif os.path.lexists(place) and name != RECORD:
            found[name] = digest(bytes_on_disk(place))
    return found
