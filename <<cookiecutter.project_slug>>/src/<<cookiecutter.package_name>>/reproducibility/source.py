"""The source: which code runs and who runs it, told by the git work tree or, where there is none, by the image."""

from collections.abc import Sequence
from pathlib import Path

from . import git, image
from .git import GitState


def state(root: Path) -> GitState:
    """Return which code the project at *root* is; raises Refused where that cannot be told."""
    return image.state(root) if image.inside(root) else git.state(root)


def is_committed(root: Path, path: Path) -> bool:
    """Tell whether *path* is in the commit with exactly the bytes it has on disk."""
    return image.is_committed(root, path) if image.inside(root) else git.is_committed(root, path)


def ignored(root: Path, files: Sequence[Path]) -> list[str]:
    """Return which *files* of the project git ignores, relative to *root*; of an image's files its build told."""
    return [] if image.inside(root) else git.ignored(root, files)


def identity(root: Path) -> str | None:
    """Return who works here according to git, as ``name <email>``; an image has nobody's git configuration."""
    return None if image.inside(root) else git.identity(root)
