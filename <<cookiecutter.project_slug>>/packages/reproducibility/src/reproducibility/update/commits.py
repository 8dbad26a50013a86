"""The commits of an update: a render as a commit of the project's repository, on no branch."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import refuse
from ..git.command import WorkTree, git
from ..git.settings import Settings

# The team's own: what was locked, and the data. A new version of the template changes neither.
_LOCKS, _DATA = "requirements*.txt", "data"
_ROLES = ("AUTHOR", "COMMITTER")
_PYPROJECT = "pyproject.toml"
_ORIGIN = re.compile(r'^(template|commit) = (".*")\n', re.MULTILINE)


def keep_the_teams(old: Path, new: Path) -> list[str]:
    """Give the render *new* the locks and the data of the render *old*; return the locks that only *new* has.

    Between the two renders, these files then do not differ. A lock that only *new* has stays: nobody has it yet.
    """
    shutil.rmtree(new / _DATA, ignore_errors=True)
    if (old / _DATA).is_dir():
        shutil.copytree(old / _DATA, new / _DATA, symlinks=True)
    for lock in old.glob(_LOCKS):
        shutil.copyfile(lock, new / lock.name)
    return sorted({lock.name for lock in new.glob(_LOCKS)} - {lock.name for lock in old.glob(_LOCKS)})


def keep_the_origin(root: Path, old: Path) -> None:
    """Let the render *old* note the same template and commit as the project at *root*.

    The two may differ, as where the template has moved or --from was used. The lines of the new render then replace
    those of the project, without a conflict.
    """
    here = dict(_ORIGIN.findall((root / _PYPROJECT).read_text("utf-8")))
    given = (old / _PYPROJECT).read_text("utf-8")
    noted = _ORIGIN.sub(lambda line: f"{line[1]} = {here.get(line[1], line[2])}\n", given)
    (old / _PYPROJECT).write_text(noted, "utf-8", newline="\n")


def is_only_the_origin(old: Path, new: Path) -> bool:
    """Whether pyproject.toml of two renders differs in nothing but the template and the commit that it notes."""
    old_rest, new_rest = (_ORIGIN.sub("", (folder / _PYPROJECT).read_text("utf-8")) for folder in (old, new))
    return old_rest == new_rest


def committed(tree: WorkTree, folder: Path, message: str, parent: str | None = None) -> str:
    """Return the id of a new commit that has the files of *folder* where the project lies in the work tree *tree*."""
    git_dir = os.fsdecode(git(tree.top, "rev-parse", "--absolute-git-dir")).removesuffix("\n")
    with tempfile.TemporaryDirectory(prefix="update-") as scratch:
        inside = {"GIT_DIR": git_dir, "GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": str(Path(scratch, "index"))}
        git(folder, "add", "--all", "--force", ".", environment=inside)
        files = _written(folder, inside)
        if tree.project != ".":
            git(folder, "read-tree", "--empty", environment=inside)
            git(folder, "read-tree", f"--prefix={tree.project}/", files, environment=inside)
            files = _written(folder, inside)
    parents = ["-p", parent] if parent else []
    identity = people(tree.top)
    made = git(tree.top, "commit-tree", files, *parents, stdin=message.encode(), environment=identity)
    return made.decode().strip()


def _written(folder: Path, inside: Mapping[str, str]) -> str:
    return git(folder, "write-tree", environment=inside).decode().strip()


def changed_paths(tree: WorkTree, old: str, new: str) -> dict[str, str]:
    """Return {path in the project: A, D or M} of each file that commit *new* adds, deletes or changes."""
    listed = git(tree.top, "diff-tree", "-r", "-z", "--no-renames", "--name-status", old, new).split(b"\0")[:-1]
    return {_in_project(tree, path): status.decode() for status, path in zip(listed[::2], listed[1::2], strict=True)}


def _in_project(tree: WorkTree, path: bytes) -> str:
    name = os.fsdecode(path)
    return name if tree.project == "." else name.removeprefix(f"{tree.project}/")


def unmerged(tree: WorkTree) -> Iterator[tuple[str, set[str]]]:
    """Yield each path in the work tree that git could not merge, with the sides that have it.

    The sides are 1: the old render, 2: the project, 3: the new render.
    """
    stages: dict[str, set[str]] = {}
    for entry in git(tree.top, "ls-files", "--unmerged", "-z").split(b"\0")[:-1]:
        about, _, path = entry.partition(b"\t")
        stages.setdefault(os.fsdecode(path), set()).add(about.split()[2].decode())
    yield from stages.items()


def people(top: Path) -> dict[str, str]:
    """Return the variables that make whoever works here the author of a commit; raises Refused if nobody is named."""
    author = Settings(top).author
    if author is None:
        fix = 'git config user.name "Your Name" and git config user.email you@example.com'
        refuse("author", "nobody is named who could make the commit of the update", fix)
    name, _, email = author.removesuffix(">").rpartition(" <")
    return {f"GIT_{role}_NAME": name for role in _ROLES} | {f"GIT_{role}_EMAIL": email for role in _ROLES}
