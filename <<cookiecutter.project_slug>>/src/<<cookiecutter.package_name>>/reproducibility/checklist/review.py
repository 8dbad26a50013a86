"""A review: the commit that is looked at, the run that is shown for it, and what both are compared with."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..evidence import ManifestError
from ..git_command import answer
from ..judgement import PARENT_TAG, REPRODUCES
from ..kinship import outermost
from ..project import PROJECT_ROOT, team_policy
from ..recorded_run import RecordedRun, find, read, search
from ..store import StoreEmpty, connect, reachable
from ..url import without_credentials
from ..validation import Validation, judge
from ..violation import Refused, Violation
from . import pull_request
from .ancestry import DEEPEN, changed, is_shallow, require_ancestor
from .item import Untold
from .proof import Proof, proof

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_LOOKED_AT = 200


@dataclass(frozen=True)
class Shown:
    """The run that is shown for the commit. validation: what `repro validate` finds out about it."""

    recorded: RecordedRun
    validation: Validation
    proof: Proof


@dataclass(frozen=True)
class Review:
    """What is under review.

    head: the commit that is checked out. request: what GitHub says is to be reviewed, if anything. base: what the
    commit is compared with, as it was asked for, None if with nothing. absence: why there is no run, if there is none.
    """

    root: Path
    head: str
    base: str | None
    request: pull_request.PullRequest | None
    shown: Shown | None
    absence: click.ClickException | None

    @property
    def run(self) -> Shown:
        """The run with its evidence; without one raises Refused or, where that could not be told, Untold."""
        if self.shown is None:
            is_told = isinstance(self.absence, Refused) and not isinstance(self.absence, Untold)
            missing = Refused if is_told else Untold
            raise missing([Violation("run", "there is none to look at", "see the item Commit")])
        return self.shown


def begin(reference: str | None, event: Path | None, base: str | None, *, prove: bool) -> Review:
    """Return what is under review: the run that *reference* means, else the one that *event* names, else the newest.

    Raises Refused for a *reference*, an event or a project that is none. Any other lack of a run is the review's.
    """
    request = pull_request.read(event) if event else None
    head = answer(PROJECT_ROOT, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head is None:
        fix = f"work in a clone of the project; {PROJECT_ROOT} is no git repository with a commit"
        raise Refused([Violation("commit", "there is no commit to review", fix)])
    base = base or (request.base if request else None) or ("origin/HEAD" if _has_default(PROJECT_ROOT) else None)
    shown, absence = None, None
    try:
        client = connect()
        if reference is not None:
            run = find(client, reference)
        elif request and request.text is not None:
            run = find(client, pull_request.named_run(request.text))
        else:
            run = _newest(client, PROJECT_ROOT, head)
    except StoreEmpty:
        absence = Refused([Violation("run", "nothing was recorded here yet", "make one: nox -s train")])
    except click.ClickException as error:
        if reference is not None and isinstance(error, Refused):
            raise
        absence = error
    else:
        try:
            shown = _shown(client, run, prove=prove)
        except click.ClickException as error:
            absence = error
    return Review(PROJECT_ROOT, head, base, request, shown, absence)


def _has_default(root: Path) -> bool:
    return answer(root, "rev-parse", "--verify", "--quiet", "origin/HEAD^{commit}") is not None


def _shown(client: "MlflowClient", run: "Run", *, prove: bool) -> Shown:
    recorded = read(client, outermost(client, run))
    try:
        readable = isinstance(recorded.manifest and recorded.values["data"]["path"], str)
    except (ManifestError, KeyError, TypeError) as error:
        readable, why = False, f" ({error})" if isinstance(error, ManifestError) else ""
    if not readable:
        problem = f"it was not recorded by this project's own way{why}"
        raise Refused([Violation(f"run {recorded.run.info.run_id}", problem, "make one with: nox -s train")])
    return Shown(recorded, judge(client, recorded, team_policy()), proof(client, recorded, make=prove))


def _newest(client: "MlflowClient", root: Path, head: str) -> "Run":
    """Return the newest finished run of *head* or of a commit that would give the same; best one without a patch."""
    rules = ["attributes.status = 'FINISHED'", f"tags.`{PARENT_TAG}` IS NULL", f"tags.{REPRODUCES} IS NULL"]
    clean = [*rules, "tags.git_dirty = 'false'"]
    with reachable(client.tracking_uri):
        if found := search(client, " AND ".join([*clean, f"tags.git_commit = '{head}'"]), 1):
            return found[0]
        for run in search(client, " AND ".join(clean), _LOOKED_AT):
            if _is_of(root, run.data.tags.get("git_commit", ""), head):
                return run
        if found := search(client, " AND ".join([*rules, f"tags.git_commit = '{head}'"]), 1):
            return found[0]
    store = without_credentials(client.tracking_uri)
    if is_shallow(root):
        problem = (
            f"{store} has no finished run of {head[:12]}, and the clone is too shallow to know others that would do"
        )
        raise Untold([Violation("run", problem, f"{DEEPEN}; or make one: nox -s train")])
    raise Refused([Violation("run", f"{store} has no finished run of commit {head[:12]}", "make one: nox -s train")])


def _is_of(root: Path, commit: str, head: str) -> bool:
    try:
        require_ancestor(root, commit, head)
        return not changed(root, commit, head)
    except Refused:
        return False
