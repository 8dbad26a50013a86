"""The image of the locked packages: kept in a folder, so that a machine that is new each time installs nothing anew."""

from collections.abc import Sequence
from pathlib import Path

from ..digest import digest
from ..lockfile import LOCK
from ..project import PROJECT_ROOT, project_name
from .engine import Program

_RECIPE = "Dockerfile"


def packages_image(engine: Program, context: Path, base: str | None, folder: Path, options: Sequence[str]) -> str:
    """Return the name of an image that has what the lock in *context* pins, and leave a copy of the image in *folder*.

    The image is the engine's own, else that of *folder*, else it is built on *base* with the *options*. Copies for
    other locks are deleted. Raises Refused when the engine fails.
    """
    parts = ((context / LOCK).read_bytes(), (context / _RECIPE).read_bytes(), (base or "").encode())
    version = digest(b"".join(digest(part).encode() for part in parts)).removeprefix("blake3:")[:16]
    name, copy = f"localhost/{project_name(PROJECT_ROOT)}-packages:{version}", folder / f"{version}.tar"
    if not _exists(engine, name) and copy.is_file():
        engine.answer("load", "--input", str(copy))  # a copy that is damaged is as none
    if not _exists(engine, name):
        copy.unlink(missing_ok=True)
        engine.do("build", "--target=packages", f"--tag={name}", *options, str(context))
    if not copy.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.glob("*.tar"):
            other.unlink()
        unfinished = copy.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        engine.do("save", "--output", str(unfinished), name)
        unfinished.replace(copy)
    return name


def _exists(engine: Program, name: str) -> bool:
    return engine.answer("image", "inspect", "--format={{.Id}}", name) is not None
