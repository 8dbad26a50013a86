"""A review: the commit that is looked at, the run that is shown for it, and what both are compared with."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..comparison.verdict import Verdict
from ..errors import Refused, StoreEmpty, Unknown, Violation
from ..evidence import ManifestError
from ..git.command import git_line
from ..project import PROJECT_ROOT, team_policy
from ..reproduce.reproduce import compare_reproduction, reproduce
from ..secrets import without_credentials
from ..tags import MADE_FROM, PARENT_TAG, PROCESS_TAG, REPRODUCES
from ..tracking.recorded import RecordedRun, find_run, origin_differences, outermost, read_run, search_runs
from ..tracking.store import connect, reachable
from ..tracking.validation import Validation, judge
from .ancestry import DEEPEN, changed, is_shallow, require_ancestor
from .pull_request import PullRequest, named_run, read_event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient
    from mlflow.entities import Run


# So many of the newest are compared, and every one of them has to agree.
_COMPARED = 3
_TWINS_LOOKED_AT = 50
_PLAIN = re.compile(r"[\w:]+")


@dataclass(frozen=True)
class Proof:
    """What second runs gave. verdicts: one for each of them. problems: why there is none, if there is none."""

    verdicts: tuple[Verdict, ...] = ()
    problems: tuple[Violation, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether there is a second run, and none that came out differently."""
        return bool(self.verdicts) and all(verdict.holds for verdict in self.verdicts)


def proof(client: "MlflowClient", recorded: RecordedRun, *, make: bool) -> Proof:
    """Return what the second runs of *recorded* say; without any, *make* lets it be made again now.

    Raises StoreUnavailable.
    """
    run_id = recorded.run.info.run_id
    found = []
    for run in _twins(client, recorded.run):
        try:
            second = read_run(client, run)
            if (
                origin_differences(recorded, second)
                or recorded.manifest["patch_digest"] != second.manifest["patch_digest"]
            ):
                continue
            verdict = compare_reproduction(client, recorded.run, recorded, second)
        except (Refused, ValueError, KeyError, TypeError):
            continue  # altered, without evidence, or of another making: it says nothing about this one
        if not verdict.forced:  # another Python is no second process of the same
            found.append(verdict)
        if len(found) == _COMPARED:
            break
    if found:
        return Proof(tuple(found))
    if not make:
        problem = "no second process has made this run again, so nothing shows that the seed does what it should"
        return Proof(problems=(Violation("seed", problem, "repro checklist --prove"),))
    try:
        return Proof((reproduce(run_id),))
    except Refused as refused:
        return Proof(problems=refused.violations)


def _twins(client: "MlflowClient", run: "Run") -> "Iterator[Run]":
    """Yield the finished runs that say they were made from the same as *run*, by other processes, the newest first."""
    if not all(_PLAIN.fullmatch(run.data.tags.get(tag, "")) for tag in MADE_FROM):
        return  # altered: nothing was recorded like that
    same = [f"tags.{tag} = '{run.data.tags.get(tag, '')}'" for tag in MADE_FROM]
    rules = ["attributes.status = 'FINISHED'", "tags.`mlflow.parentRunId` IS NULL", *same]
    with reachable(client.tracking_uri):
        twins = search_runs(client, " AND ".join(rules), _TWINS_LOOKED_AT)
    process = run.data.tags.get(PROCESS_TAG)
    for twin in twins:
        if twin.info.run_id != run.info.run_id and twin.data.tags.get(PROCESS_TAG) not in (None, process):
            yield twin


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
    request: PullRequest | None
    shown: Shown | None
    absence: click.ClickException | None

    @property
    def run(self) -> Shown:
        """The run with its evidence; without one raises Refused or, where that could not be told, Unknown."""
        if self.shown is None:
            is_told = isinstance(self.absence, Refused) and not isinstance(self.absence, Unknown)
            missing = Refused if is_told else Unknown
            raise missing([Violation("run", "there is none to look at", "see the item Commit")])
        return self.shown


def begin(reference: str | None, event: Path | None, base: str | None, *, prove: bool) -> Review:
    """Return what is under review: the run that *reference* means, else the one that *event* names, else the newest.

    Raises Refused for a *reference*, an event or a project that is none. Any other lack of a run is the review's.
    """
    request = read_event(event) if event else None
    head = git_line(PROJECT_ROOT, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head is None:
        fix = f"work in a clone of the project; {PROJECT_ROOT} is no git repository with a commit"
        raise Refused([Violation("commit", "there is no commit to review", fix)])
    base = base or (request.base if request else None) or ("origin/HEAD" if _has_default(PROJECT_ROOT) else None)
    shown, absence = None, None
    try:
        client = connect()
        if reference is not None:
            run = find_run(client, reference)
        elif request and request.text is not None:
            run = find_run(client, named_run(request.text))
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
    return git_line(root, "rev-parse", "--verify", "--quiet", "origin/HEAD^{commit}") is not None


def _shown(client: "MlflowClient", run: "Run", *, prove: bool) -> Shown:
    recorded = read_run(client, outermost(client, run))
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
        if found := search_runs(client, " AND ".join([*clean, f"tags.git_commit = '{head}'"]), 1):
            return found[0]
        for run in search_runs(client, " AND ".join(clean), _LOOKED_AT):
            if _is_of(root, run.data.tags.get("git_commit", ""), head):
                return run
        if found := search_runs(client, " AND ".join([*rules, f"tags.git_commit = '{head}'"]), 1):
            return found[0]
    store = without_credentials(client.tracking_uri)
    if is_shallow(root):
        problem = (
            f"{store} has no finished run of {head[:12]}, and the clone is too shallow to know others that would do"
        )
        raise Unknown([Violation("run", problem, f"{DEEPEN}; or make one: nox -s train")])
    raise Refused([Violation("run", f"{store} has no finished run of commit {head[:12]}", "make one: nox -s train")])


def _is_of(root: Path, commit: str, head: str) -> bool:
    try:
        require_ancestor(root, commit, head)
        return not changed(root, commit, head)
    except Refused:
        return False
