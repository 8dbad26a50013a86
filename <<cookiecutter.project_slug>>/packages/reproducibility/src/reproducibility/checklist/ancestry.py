"""Ancestry: how the commit of a run and the commit under review are related, in the repository at hand."""

import os
import re
from pathlib import Path

from ..comparison.diff import BESIDE
from ..errors import Refused, Unknown, Violation
from ..git.command import git, git_line

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# Whatever lies in these counts, be it called README.md; of the rest does not count what no training reads. What
# pyproject.toml asks for matters to a run by what the lock made of it.
_MADE_FROM = re.compile(r"(configs|data|packages|scripts|src)/")
_LISTS = ("pyproject.toml", "compose.yaml")
DEEPEN = "git fetch --unshallow (in a workflow: actions/checkout with `fetch-depth: 0`)"


def resolved(root: Path, name: str, fix: str) -> str:
    """Return the id of the commit that *name* means; raises Unknown, with *fix*, where the repository has no such."""
    if (commit := git_line(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")) is None:
        fix = DEEPEN if is_shallow(root) else fix
        raise Unknown([Violation("base", f"{name[:80]!r} is no commit of this repository", fix)])
    return commit


def fork_point(root: Path, base: str, head: str) -> str:
    """Return the newest commit that *base* and *head* have in common, where what is under review begins."""
    if (common := git_line(root, "merge-base", base, head)) is None:
        fix = DEEPEN if is_shallow(root) else "name the branch that this one goes to: --base origin/main"
        raise Unknown([Violation("base", f"{head[:12]} and {base[:12]} have no commit in common here", fix)])
    return common


def require_ancestor(root: Path, commit: str, head: str) -> None:
    """Raise Refused unless *commit* is *head* or one before it; Unknown where the clone is too shallow to tell."""
    if commit == head:
        return
    is_here = bool(_COMMIT.fullmatch(commit)) and git_line(root, "cat-file", "-t", commit) == "commit"
    if is_here and git_line(root, "merge-base", commit, head) == commit:
        return
    if is_shallow(root):
        problem = f"the clone is shallow, so nobody can tell whether {commit[:12]} comes before {head[:12]}"
        raise Unknown([Violation("git_commit", problem, DEEPEN)])
    where = "is not among the commits before" if is_here else "is not in this repository, and not before"
    problem = f"the run's commit {commit[:12]} {where} the one under review, {head[:12]}"
    raise Refused([Violation("git_commit", problem, "train anew from it: nox -s train")])


def changed(root: Path, commit: str, head: str) -> list[str]:
    """Return which files of the project at *root* differ between the two commits, of those that a run is made from."""
    names = git(root, "diff", "--name-only", "--no-renames", "--relative", "-z", commit, head, "--", ".")
    files = (os.fsdecode(name) for name in names.split(b"\0") if name)
    return [file for file in files if _MADE_FROM.match(file) or not (BESIDE.fullmatch(file) or file in _LISTS)]


def is_shallow(root: Path) -> bool:
    """Whether the clone lacks the commits before some point."""
    return git_line(root, "rev-parse", "--is-shallow-repository") == "true"
