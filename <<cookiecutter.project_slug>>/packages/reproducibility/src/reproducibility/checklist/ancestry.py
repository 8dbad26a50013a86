"""Ancestry: how the commit of a run and the commit under review are related, in the repository at hand."""

import os
from pathlib import Path

from ..errors import Unknown, refuse
from ..git.command import commit_id, git, git_line
from ..provenance.code import shapes_runs
from ..tags import COMMIT_ID

DEEPEN = "git fetch --unshallow (in a workflow: actions/checkout with `fetch-depth: 0`)"


def commit_named(root: Path, name: str, fix: str) -> str:
    """Return the id of the commit that *name* means; raises Unknown, with *fix*, where the repository has none."""
    if (commit := commit_id(root, name)) is None:
        fix = DEEPEN if is_shallow(root) else fix
        refuse("base", f"{name[:80]!r} is no commit of this repository", fix, Unknown)
    return commit


def fork_point(root: Path, base: str, head: str) -> str:
    """Return the newest commit that *base* and *head* have in common: the changes under review begin after it."""
    if (common := git_line(root, "merge-base", base, head)) is None:
        fix = DEEPEN if is_shallow(root) else "name the branch that this one goes to: --base origin/main"
        refuse("base", f"{head[:12]} and {base[:12]} have no commit in common here", fix, Unknown)
    return common


def require_ancestor(root: Path, commit: str, head: str) -> None:
    """Raise Refused unless *commit* is *head* or a commit before it; Unknown where the clone is too shallow."""
    if commit == head:
        return
    is_here = bool(COMMIT_ID.fullmatch(commit)) and git_line(root, "cat-file", "-t", commit) == "commit"
    if is_here and git_line(root, "merge-base", commit, head) == commit:
        return
    if is_shallow(root):
        problem = f"the clone is too shallow to show whether {commit[:12]} comes before {head[:12]}"
        refuse("git_commit", problem, DEEPEN, Unknown)
    under_review = f"the commit under review, {head[:12]}"
    absent = f"is not in this repository, so it cannot come before {under_review}"
    problem = f"is not among the commits before {under_review}" if is_here else absent
    refuse("git_commit", f"the run's commit {commit[:12]} {problem}", "train anew from that one: nox -s train")


def changed(root: Path, commit: str, head: str) -> list[str]:
    """Return which files of the project at *root* differ between the two commits, of those that shape a run.

    pyproject.toml is left out: the versions that a run had are in the lock.
    """
    names = git(root, "diff", "--name-only", "--no-renames", "--relative", "-z", commit, head, "--", ".")
    files = (os.fsdecode(name) for name in names.split(b"\0") if name)
    return [file for file in files if shapes_runs(file) and file != "pyproject.toml"]


def is_shallow(root: Path) -> bool:
    """Tell whether the clone lacks the commits before some point."""
    return git_line(root, "rev-parse", "--is-shallow-repository") == "true"
