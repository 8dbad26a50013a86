"""The commit: the work tree is clean, the run is whole and of the commit under review, and everybody can fetch it."""

import os
from collections.abc import Iterator
from pathlib import Path

from ..display import one_line
from ..errors import Refused, Unknown, Violation
from ..git.command import git, git_line, reaching
from ..provenance.code import code_state
from . import config, parameters, requirements
from .ancestry import changed, require_ancestor
from .item import Seen
from .review import Review

# What `repro validate` asks of a run and other items answer.
_ELSEWHERE = config.CHECKS | parameters.CHECKS | requirements.CHECKS
_SHOWN = 5


def look(review: Review) -> Iterator[Seen]:
    """Look at the work tree, at where the commit is, and at the run."""
    head = review.head
    if review.request and review.request.head not in (None, head):
        problem = f"{review.request.head[:12]} is under review, and {head[:12]} is checked out"
        fix = "check that one out (actions/checkout with `ref: ${{ github.event.pull_request.head.sha }}`)"
        yield Violation("commit", problem, fix)
    state = code_state(review.root)
    if state.dirty:
        problem = f"the work tree differs from {head[:12]}: {_differing(review.root)}"
        yield Violation("commit", problem, "commit, or stash what does not belong to it")
    else:
        yield f"{head[:12]} on {one_line(state.branch)}, clean"
    yield from _published(review)
    if review.absence is not None:
        raise review.absence
    yield from _run(review)


def _differing(root: Path) -> str:
    status = git(root, "status", "--porcelain", "--untracked-files=all", "--no-renames", "-z", "--", ".")
    names = [os.fsdecode(line[3:]) for line in status.split(b"\0") if line]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(one_line(name) for name in names[:_SHOWN]) + more


def _published(review: Review) -> Iterator[Seen]:
    """Look whether others can fetch the commit: GitHub knows it, a branch of a remote has it, or the remote says so."""
    root, head = review.root, review.head
    if review.request and review.request.head == head:
        yield "on GitHub, as its event says"
        return
    known = git_line(
        root, "for-each-ref", "--count=1", f"--contains={head}", "--format=%(refname:short)", "refs/remotes"
    )
    if known:
        yield f"pushed: in {one_line(known)}"
        return
    remotes = (git_line(root, "remote") or "").split()
    if not remotes:
        fix = "git remote add origin URL, then git push --set-upstream origin HEAD"
        yield Violation("commit", "the repository has no remote, so nobody else has the commit", fix)
        return
    remote = "origin" if "origin" in remotes else remotes[0]
    try:
        told = git(root, "ls-remote", remote, environment=reaching())
    except Refused as refused:
        problem = f"{remote} cannot be asked whether it has {head[:12]} ({refused.violations[0].problem})"
        yield Unknown([Violation("commit", problem, f"git push {remote} HEAD")])
        return
    if any(line.startswith(f"{head}\t".encode()) for line in told.splitlines()):
        yield f"pushed: {remote} has it"
    else:
        yield Violation("commit", f"{head[:12]} is in no branch of {remote}", f"git push {remote} HEAD")


def _run(review: Review) -> Iterator[Seen]:
    recorded, validation = review.run.recorded, review.run.validation
    run_id, tags = recorded.run.info.run_id, recorded.run.data.tags
    for check in validation.checks:
        if not check.holds and check.name not in _ELSEWHERE:
            fix = f"train anew: nothing mends a run afterwards (repro validate {run_id[:8]})"
            yield Violation(f"run {run_id[:8]}", f"{check.name}: {check.evidence}", fix)
    commit = tags.get("git_commit", "none")
    if tags.get("git_dirty") != "false":
        problem = f"it was made from uncommitted changes to {commit[:12]}"
        yield Violation(f"run {run_id[:8]}", problem, "commit them, and train anew: nox -s train")
    require_ancestor(review.root, commit, review.head)
    if differing := changed(review.root, commit, review.head):
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        problem = (
            f"it is of {commit[:12]}, and since then changed: {', '.join(map(one_line, differing[:_SHOWN]))}{more}"
        )
        yield Violation(f"run {run_id[:8]}", problem, "train anew: nox -s train")
        return
    whole = sum(check.holds for check in validation.checks)
    before = "" if commit == review.head else f", of {commit[:12]}, and nothing that it was made from changed since"
    yield f"run {run_id} of {one_line(recorded.experiment)} ({whole} of {len(validation.checks)} checks){before}"
