"""A checkout: the files of a recorded run's commit and patch, in a temporary worktree beside the user's own."""

import os
import posixpath
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..digest import digest
from ..errors import Refused, Violation
from ..git.command import git, git_line, reaching
from ..lockfile import LOCK
from ..secrets import without_credentials
from ..tracking.recorded import RecordedRun

# The run may come from anybody, and so may the address in it: no helper program, no option in disguise.
_ADDRESS = re.compile(r"(?:https?|ssh|git|file)://.+|[\w.-]+@[\w.-]+:.+|/.+")


@contextmanager
def checkout(root: Path, recorded: RecordedRun, folder: Path) -> Iterator[Path]:
    """The project as it was when *recorded* started: its root, in the empty *folder*, until the block ends.

    *root* is the project as it is now; of its repository only objects are added to and no file, index or branch is
    touched. The commit is fetched from a remote if it is not there. Raises Refused when it cannot be had, when the
    patch does not apply, and when the project is not to be found in what comes out.
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
        # By its name: `git worktree prune` would also forget worktrees of the user's that are on no disk just now.
        shutil.rmtree(top, ignore_errors=True)
        with suppress(Refused):
            git(root, "worktree", "remove", "--force", "--force", str(top))


def _require_commit(root: Path, commit: str, remote: str) -> None:
    """See that the repository at *root* has *commit*, fetched if need be from where the run's code came from."""
    if _has(root, commit):
        return
    problems = []
    for name, address in _remotes(root, remote).items():
        # The commit alone, or all branches where a server gives out no commit by its id. No reference is written.
        for wanted in (commit, "refs/heads/*"):
            options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--refmap=", "--no-auto-maintenance")
            try:
                git(root, "fetch", *options, name, wanted, environment=reaching())
            except Refused as refused:
                problems.append(f"{address}: {refused.violations[0].problem.rpartition(': ')[2]}")
            if _has(root, commit):
                return
    asked = f"nor in {', '.join(_remotes(root, remote).values())}" if problems else "and no remote is set"
    told = f" ({'; '.join(dict.fromkeys(problems))})" if problems else ""
    fix = "push it from the clone that the run was started in, or fetch from there: git fetch PATH_OR_URL, then again"
    raise Refused([Violation("git_commit", f"the run's commit {commit} is not in this repository {asked}{told}", fix)])


def _has(root: Path, commit: str) -> bool:
    return git_line(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}") is not None


def _remotes(root: Path, recorded: str) -> dict[str, str]:
    """Return {what git is told: how it is shown}, the remote that the run names first.

    A remote of this repository is used by its name: its address may carry a password that the recorded one lacks.
    """
    shown = {}
    for name in (git_line(root, "remote") or "").split():
        shown[name] = without_credentials(git_line(root, "remote", "get-url", name) or "")
    order = sorted(shown, key=lambda name: (shown[name] != recorded, name != "origin"))
    remotes = {name: shown[name] for name in order}
    if recorded not in shown.values() and _ADDRESS.fullmatch(recorded):
        remotes[recorded] = recorded
    return remotes


def _apply(top: Path, patch: bytes, commit: str) -> None:
    try:
        # With the index, so that a file stays part of it that .gitignore names and that was added by force.
        git(top, "apply", "--index", "--whitespace=nowarn", stdin=patch)
    except Refused as refused:
        told = refused.violations[0].problem.rpartition(": ")[2]
        problem = f"the run's patch does not apply to its commit {commit}: {told}"
        fix = "the patch is damaged; get the files that the run was made with from its author"
        raise Refused([Violation("uncommitted.patch", problem, fix)]) from None


def _project(root: Path, top: Path, recorded: RecordedRun) -> Path:
    """Return the project's folder in *top*: today's or, if it was moved since, the one that has the run's files."""
    today = os.fsdecode(git(root, "rev-parse", "--show-prefix")).removesuffix("\n").rstrip("/") or "."
    script = recorded.manifest["entry_point"]
    files = os.fsdecode(git(top, "ls-files", "-z")).split("\0")
    suffix = f"/{script}"
    found = [file.removesuffix(script).rstrip("/") or "." for file in files if file == script or file.endswith(suffix)]
    found = [folder for folder in found if _is_locked_as(top / folder, recorded)]
    for folder in sorted(found, key=lambda folder: folder != today):
        if folder == today or len(found) == 1:
            return Path(folder)
    at = f"the run's commit {recorded.manifest['tags']['git_commit']}"
    if found:
        problem = f"{script} and its lock are in several folders of {at}: {', '.join(map(posixpath.normpath, found))}"
        fix = "start from a checkout in which the project lies where it did then"
    else:
        problem = f"{script} with the lock of the run is in no folder of {at}"
        fix = "the run was made elsewhere: start the command in the project that it belongs to"
    raise Refused([Violation("entry point", problem, fix)])


def _is_locked_as(folder: Path, recorded: RecordedRun) -> bool:
    lock = folder / LOCK
    return lock.is_file() and digest(lock.read_bytes()) == recorded.manifest["tags"]["lock_digest"]
