"""The merge of an update: on a branch of its own, by git's cherry-pick, which every tool can continue or abort."""

import os
from dataclasses import dataclass
from pathlib import Path

from ..display import listed
from ..errors import Refused, refuse
from ..git.command import WorkTree, commit_id, git, git_line
from .commits import people, unmerged

BRANCHES = "template-update/"
# A conflict also shows what the template had before. A file that is added goes where the team moved its folder.
_MERGES = ("-c", "merge.conflictStyle=diff3", "-c", "merge.directoryRenames=true", "-c", "merge.renames=true")
_NO_EDITOR = {"GIT_EDITOR": "true"}


@dataclass(frozen=True)
class Merge:
    """The end of a merge, on *branch*, which began at the commit *base*.

    came_from: the words with which ``git switch`` leads back. conflicts: the files that git could not merge.
    kept_deleted: those that the template changed, and that the team had deleted: they stay deleted.
    """

    branch: str
    base: str
    came_from: str
    conflicts: tuple[str, ...]
    kept_deleted: tuple[str, ...]


def require_clean(tree: WorkTree) -> None:
    """Raise Refused if the work tree has changes that no commit has, or if another merge is not finished."""
    branch = git_line(tree.top, "symbolic-ref", "--quiet", "--short", "HEAD") or ""
    if commit_id(tree.top, "CHERRY_PICK_HEAD"):
        problem = "an update, or another cherry-pick, is not finished"
        refuse("update", problem, "git cherry-pick --continue, or go back with git cherry-pick --abort")
    changed = git(tree.top, "status", "--porcelain", "-z", "--untracked-files=normal").split(b"\0")[:-1]
    if not changed:
        return
    names = listed((entry[3:].decode("utf-8", "replace") for entry in changed), 3)
    if branch.startswith(BRANCHES):
        problem = f"an update of this branch was interrupted, and left {names}"
        refuse("update", problem, "git stash --include-untracked keeps that away; then run the update again")
    problem = f"the work tree has changes that no commit has: {names}"
    refuse("update", problem, "commit them, or put them away with git stash --include-untracked")


def require_room(tree: WorkTree, added: list[str]) -> None:
    """Raise Refused if a file that the template adds would replace one here that git ignores."""
    folder = tree.top / tree.project
    here = [name for name in added if (folder / name).exists() or (folder / name).is_symlink()]
    known = os.fsdecode(git(folder, "ls-files", "-z", "--", *here)).split("\0")
    if in_the_way := [name for name in here if name not in known]:
        problem = f"the template adds {listed(in_the_way, 3)}, and a file that git ignores has that name"
        refuse("update", problem, "move the file, and run the update again")


def merge(tree: WorkTree, commit: str, version: str) -> Merge:
    """Merge what *commit* changes against its parent into a new branch from HEAD, and switch to that branch.

    With conflicts the work tree stays as git leaves it, for the user to go on or back. Raises Refused, on the branch
    where it began, if git fails for another reason.
    """
    branch, before = f"{BRANCHES}{version}", commit_id(tree.top, "HEAD")
    here = git_line(tree.top, "symbolic-ref", "--quiet", "--short", "HEAD")
    came_from = f"--detach {before}" if here is None else "-" if here == branch else here
    _refuse_a_branch_with_work(tree, branch)
    git(tree.top, "switch", "--quiet", "--force-create", branch)
    environment = people(tree.top) | _NO_EDITOR
    failure, kept_deleted = None, []
    try:
        git(tree.top, *_MERGES, "cherry-pick", "--keep-redundant-commits", commit, environment=environment)
    except Refused as refused:
        failure = refused
    conflicts = dict(unmerged(tree))
    if failure and not conflicts:
        _go_back(tree, came_from, branch)
        raise failure
    for path, sides in list(conflicts.items()):
        if sides == {"1", "3"}:
            git(tree.top, "rm", "--quiet", "--", path)
            kept_deleted.append(path)
            del conflicts[path]
    if failure and not conflicts:
        git(tree.top, *_MERGES, "cherry-pick", "--continue", environment=environment)
    return Merge(branch, before, came_from, tuple(conflicts), tuple(kept_deleted))


def _refuse_a_branch_with_work(tree: WorkTree, branch: str) -> None:
    """Raise Refused if *branch* has commits that HEAD does not have; an interrupted update leaves it without any."""
    tip = commit_id(tree.top, f"refs/heads/{branch}")
    if tip and git_line(tree.top, "merge-base", tip, "HEAD") != tip:
        problem = f"the branch {branch} has this update already"
        refuse("update", problem, f"git merge {branch}, or delete it: git branch -D {branch}")


def _go_back(tree: WorkTree, came_from: str, branch: str) -> None:
    if commit_id(tree.top, "CHERRY_PICK_HEAD"):
        git(tree.top, "cherry-pick", "--abort")
    if came_from != "-":
        git(tree.top, "switch", "--quiet", *came_from.split(" "))
        git(tree.top, "branch", "--quiet", "-D", branch)


def commit_conflicts(top: Path) -> None:
    """Commit the files with their conflict markers, for a pull request in which somebody resolves them."""
    git(top, "add", "--all")
    git(top, *_MERGES, "cherry-pick", "--continue", environment=people(top) | _NO_EDITOR)
