"""A checkout: the files of a recorded run's commit and patch, in a temporary worktree apart from the user's own."""

import os
import posixpath
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..digest import digest
from ..display import listed
from ..errors import Refused, refuse
from ..evidence import PATCH
from ..git.command import git, work_tree
from ..git.state import fetch_commit
from ..lockfile import LOCK
from ..tracking.recorded import RecordedRun


@contextmanager
def checkout(root: Path, recorded: RecordedRun, folder: Path) -> Iterator[Path]:
    """Give the root of the project as it was when *recorded* started, in the empty *folder*, until the block ends.

    *root* is the project as it is now. Its files, index and branches stay as they are; its repository only gains
    objects. A commit that the repository lacks is fetched from a remote. Raises Refused when the commit cannot be
    obtained, when the patch does not apply, and when the commit does not contain the project.
    """
    tags, patch = recorded.manifest["tags"], recorded.patch
    _require_commit(root, tags["git_commit"], tags["git_remote"])
    top = folder / "code"
    try:
        git(root, "worktree", "add", "--quiet", "--detach", str(top), tags["git_commit"])
        if patch:
            _apply(top, patch, tags["git_commit"])
        yield top / _project(root, top, recorded)
    finally:
        # By its name: `git worktree prune` would also forget the user's worktrees on a disk that is not mounted now.
        shutil.rmtree(top, ignore_errors=True)
        with suppress(Refused):
            git(root, "worktree", "remove", "--force", "--force", str(top))


def _require_commit(root: Path, commit: str, remote: str) -> None:
    """Fetch *commit* if the repository at *root* lacks it; the *remote* that the run recorded is asked first."""
    problems = fetch_commit(root, commit, remote)
    if problems is None:
        return
    asked = f"nor in {listed(problems)}" if problems else "and no remote is set"
    reasons = f" ({'; '.join(f'{address}: {reason}' for address, reason in problems.items())})" if problems else ""
    fix = "push it from the clone that the run was started in, or fetch from there: git fetch PATH_OR_URL, then again"
    refuse("git_commit", f"the run's commit {commit} is not in this repository {asked}{reasons}", fix)


def _apply(top: Path, patch: bytes, commit: str) -> None:
    try:
        # With the index: a file that .gitignore names, and that was added by force, must stay part of the work tree.
        git(top, "apply", "--index", "--whitespace=nowarn", stdin=patch)
    except Refused as refused:
        reason = refused.violations[0].problem.rpartition(": ")[2]
        problem = f"the run's patch does not apply to its commit {commit}: {reason}"
        refuse(PATCH, problem, "the patch is damaged; get the files that the run was made with from its author")


def _project(root: Path, top: Path, recorded: RecordedRun) -> Path:
    """Return the project's folder in *top*: where it lies today, or where it lay if it was moved since.

    A folder is the project's if it has the entry point and the lock of the run.
    """
    today = work_tree(root).project
    script = recorded.manifest["entry_point"]
    files = os.fsdecode(git(top, "ls-files", "-z")).split("\0")
    suffix = f"/{script}"
    found = [file.removesuffix(script).rstrip("/") or "." for file in files if file == script or file.endswith(suffix)]
    found = [folder for folder in found if _is_locked_as(top / folder, recorded)]
    if today in found or len(found) == 1:
        return Path(today if today in found else found[0])
    at = f"the run's commit {recorded.manifest['tags']['git_commit']}"
    if found:
        problem = f"{script} and its lock are in several folders of {at}: {listed(map(posixpath.normpath, found))}"
        refuse("entry point", problem, "start from a checkout in which the project lies where it did then")
    problem = f"{script} with the lock of the run is in no folder of {at}"
    refuse("entry point", problem, "start the command in the project that the run belongs to")


def _is_locked_as(folder: Path, recorded: RecordedRun) -> bool:
    lock = folder / LOCK
    return lock.is_file() and digest(lock.read_bytes()) == recorded.manifest["tags"]["lock_digest"]
