"""The commit: the work tree is clean, everybody can fetch the commit, and the run is complete and of this commit."""

import os
from collections.abc import Iterator
from pathlib import Path

from ..display import listed, one_line
from ..errors import Refused, Unknown, Violation
from ..git.command import git, git_line, reaching
from ..provenance.code import code_state
from . import config, parameters, requirements
from .ancestry import changed, require_ancestor
from .item import Observation
from .review import Review

# Checks of `repro validate` that belong to other items.
_OTHER_ITEMS = config.CHECKS | parameters.CHECKS | requirements.CHECKS


def inspect(review: Review) -> Iterator[Observation]:
    """Look at the work tree, at who can fetch the commit, and at the run."""
    head = review.head
    if review.request and review.request.head not in (None, head):
        problem = f"{review.request.head[:12]} is under review, and {head[:12]} is checked out"
        fix = "check that one out (actions/checkout with `ref: ${{ github.event.pull_request.head.sha }}`)"
        yield Violation("commit", problem, fix)
    state = code_state(review.root)
    if state.dirty:
        problem = f"the work tree differs from {head[:12]}: {listed(_uncommitted(review.root))}"
        yield Violation("commit", problem, "commit, or stash what does not belong to it")
    else:
        yield f"{head[:12]} on {one_line(state.branch)}, clean"
    yield _publication(review)
    if review.absence is not None:
        raise review.absence
    yield from _run(review)


def _uncommitted(root: Path) -> list[str]:
    status = git(root, "status", "--porcelain", "--untracked-files=all", "--no-renames", "-z", "--", ".")
    return [os.fsdecode(line[3:]) for line in status.split(b"\0") if line]


def _publication(review: Review) -> Observation:
    """Say whether others can fetch the commit: GitHub's event names it, a branch of a remote has it, or the remote."""
    root, head = review.root, review.head
    if review.request and review.request.head == head:
        return "on GitHub, as its event says"
    listing = ("for-each-ref", "--count=1", f"--contains={head}", "--format=%(refname:short)", "refs/remotes")
    if branch := git_line(root, *listing):
        return f"pushed: in {one_line(branch)}"
    remotes = (git_line(root, "remote") or "").split()
    if not remotes:
        fix = "git remote add origin URL, then git push --set-upstream origin HEAD"
        return Violation("commit", "the repository has no remote, so nobody else has the commit", fix)
    remote = "origin" if "origin" in remotes else remotes[0]
    try:
        answer = git(root, "ls-remote", remote, environment=reaching(root))
    except Refused as refused:
        problem = f"{remote} cannot be asked whether it has {head[:12]} ({refused.violations[0].problem})"
        return Unknown([Violation("commit", problem, f"git push {remote} HEAD")])
    if any(line.startswith(f"{head}\t".encode()) for line in answer.splitlines()):
        return f"pushed: {remote} has it"
    return Violation("commit", f"{head[:12]} is in no branch of {remote}", f"git push {remote} HEAD")


def _run(review: Review) -> Iterator[Observation]:
    recorded, validation = review.run.recorded, review.run.validation
    run_id, tags = recorded.run.info.run_id, recorded.run.data.tags
    key = f"run {run_id[:8]}"
    for check in validation.checks:
        if not check.holds and check.name not in _OTHER_ITEMS:
            fix = f"train anew: nothing mends a run afterwards (repro validate {run_id[:8]})"
            yield Violation(key, f"{check.name}: {check.detail}", fix)
    commit = tags.get("git_commit", "none")
    if tags.get("git_dirty") != "false":
        problem = f"it was made from uncommitted changes to {commit[:12]}"
        yield Violation(key, problem, "commit them, and train anew: nox -s train")
    require_ancestor(review.root, commit, review.head)
    if files := changed(review.root, commit, review.head):
        problem = f"it is of {commit[:12]}, and since then changed: {listed(files)}"
        yield Violation(key, problem, "train anew: nox -s train")
        return
    passed = sum(check.holds for check in validation.checks)
    before = "" if commit == review.head else f", of {commit[:12]}, and nothing that it was made from changed since"
    yield f"run {run_id} of {one_line(recorded.experiment)} ({passed} of {len(validation.checks)} checks){before}"
