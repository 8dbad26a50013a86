"""A review: the commit under review, the run that is shown for it, and the reproductions of that run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..comparison.verdict import Verdict
from ..errors import Refused, StoreEmpty, Unknown, Violation, refuse
from ..evidence import ManifestError
from ..git.command import commit_id
from ..project import PROJECT_ROOT, team_policy
from ..reproduce.reproduce import compare_reproduction, reproduce
from ..secrets import without_credentials
from ..tags import MADE_FROM, PARENT_TAG, PROCESS_TAG, REPRODUCES, SWEEP_TAG
from ..tracking.recorded import RecordedRun, find_run, origin_differences, outermost, read_run, search_runs
from ..tracking.store import connect, reachable
from ..tracking.validation import Validation, judge
from .ancestry import DEEPEN, changed, is_shallow, require_ancestor
from .pull_request import PullRequest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# How many of the newest reproductions are compared; all of them have to come out the same.
_COMPARED = 3
# How many of the newest runs are searched for reproductions, and for a run of the commit.
_SEARCHED_FOR_REPRODUCTIONS, _SEARCHED_FOR_COMMIT = 50, 200
_FINISHED = ("attributes.status = 'FINISHED'", f"tags.`{PARENT_TAG}` IS NULL", f"tags.`{SWEEP_TAG}` IS NULL")
_PLAIN = re.compile(r"[\w:]+")


@dataclass(frozen=True)
class Reproductions:
    """The reproductions of a run: runs that other processes made from the same commit, data, config and lock.

    verdicts: how each of them compares with the run. problems: why there is none, or why that is unknown.
    """

    verdicts: tuple[Verdict, ...] = ()
    problems: tuple[Violation | Unknown, ...] = ()

    @property
    def match(self) -> bool:
        """Tell whether there is a reproduction, and every one matches the run."""
        return bool(self.verdicts) and all(verdict.holds for verdict in self.verdicts)


@dataclass(frozen=True)
class Shown:
    """The run that is shown for the commit, its checks by `repro validate`, and its reproductions."""

    recorded: RecordedRun
    validation: Validation
    reproductions: Reproductions


@dataclass(frozen=True)
class Review:
    """What is under review.

    head: the commit that is checked out. request: what GitHub reported, if anything. base: what
    the commit is compared with, as the user named it; None if with nothing. absence: why there is no run.
    """

    root: Path
    head: str
    base: str | None
    request: PullRequest | None
    shown: Shown | None
    absence: click.ClickException | None

    @property
    def run(self) -> Shown:
        """The run that is shown; without one raises Refused or, where the reason for that is no refusal, Unknown."""
        if self.shown is None:
            is_refused = isinstance(self.absence, Refused) and not isinstance(self.absence, Unknown)
            refuse("run", "there is none to look at", "see the item Commit", Refused if is_refused else Unknown)
        return self.shown


def begin(reference: str | None, request: PullRequest | None, base: str | None, *, prove: bool) -> Review:
    """Return what is under review: the run that *reference* means, else the one that *request* names, else the newest.

    Raises Refused if *reference* cannot be used, or if there is no commit. Why there is no run is otherwise
    recorded in the review.
    """
    if (head := commit_id(PROJECT_ROOT, "HEAD")) is None:
        fix = f"work in a clone of the project; {PROJECT_ROOT} is no git repository with a commit"
        refuse("commit", "there is no commit to review", fix)
    has_default = commit_id(PROJECT_ROOT, "origin/HEAD") is not None
    base = base or (request.base if request else None) or ("origin/HEAD" if has_default else None)
    shown, absence = None, None
    try:
        client = connect()
        if reference is not None:
            run = find_run(client, reference)
        elif request and (named := request.named_run()) is not None:
            run = find_run(client, named)
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


def _shown(client: "MlflowClient", run: "Run", *, prove: bool) -> Shown:
    recorded = read_run(client, outermost(client, run))
    why = ""
    try:
        readable = isinstance(recorded.manifest and recorded.values["data"]["path"], str)
    except ManifestError as error:
        readable, why = False, f" ({error})"
    except (KeyError, TypeError):
        readable = False
    if not readable:
        problem = f"it was not recorded by this project's own way{why}"
        refuse(f"run {recorded.run.info.run_id}", problem, "make one with: nox -s train")
    return Shown(recorded, judge(client, recorded, team_policy()), _reproductions(client, recorded, make=prove))


def _newest(client: "MlflowClient", root: Path, head: str) -> "Run":
    """Return the newest finished run of *head*, or of a commit with the same files; preferably one without a patch."""
    rules = [*_FINISHED, f"tags.{REPRODUCES} IS NULL"]
    clean = [*rules, "tags.git_dirty = 'false'"]
    with reachable(client.tracking_uri):
        if found := search_runs(client, " AND ".join([*clean, f"tags.git_commit = '{head}'"]), 1):
            return found[0]
        for run in search_runs(client, " AND ".join(clean), _SEARCHED_FOR_COMMIT):
            if _is_of(root, run.data.tags.get("git_commit", ""), head):
                return run
        if found := search_runs(client, " AND ".join([*rules, f"tags.git_commit = '{head}'"]), 1):
            return found[0]
    problem = f"{without_credentials(client.tracking_uri)} has no finished run of commit {head[:12]}"
    if is_shallow(root):
        problem += ", and the clone is too shallow to know which earlier commits have the same files"
        refuse("run", problem, f"{DEEPEN}; or make one: nox -s train", Unknown)
    refuse("run", problem, "make one: nox -s train")


def _is_of(root: Path, commit: str, head: str) -> bool:
    """Tell whether a run of *commit* is a run of *head* too: no file that shapes a run changed in between."""
    try:
        require_ancestor(root, commit, head)
        return not changed(root, commit, head)
    except Refused:
        return False


def _reproductions(client: "MlflowClient", recorded: RecordedRun, *, make: bool) -> Reproductions:
    """Return the reproductions of *recorded*; without any, *make* reproduces the run now.

    Raises StoreUnavailable.
    """
    found, unreadable = [], []
    for run in _candidates(client, recorded.run):
        try:
            second = read_run(client, run)
            same_patch = recorded.manifest["patch_digest"] == second.manifest["patch_digest"]
            if origin_differences(recorded, second) or not same_patch:
                continue
            verdict = compare_reproduction(client, recorded.run, recorded, second)
        except Unknown as unknown:
            unreadable.append(unknown)
            continue
        except (Refused, ValueError, KeyError, TypeError):
            continue  # altered, without evidence, or made from something else: no reproduction of this run
        if not verdict.forced:  # on another version of Python
            found.append(verdict)
        if len(found) == _COMPARED:
            break
    if found:
        return Reproductions(tuple(found))
    if not make and unreadable:
        return Reproductions(problems=tuple(unreadable))
    if not make:
        problem = "nobody has reproduced this run, so nothing shows that the seed works"
        return Reproductions(problems=(Violation("seed", problem, "repro checklist --prove"),))
    try:
        return Reproductions((reproduce(recorded.run.info.run_id),))
    except Unknown as unknown:
        return Reproductions(problems=(unknown,))
    except Refused as refused:
        return Reproductions(problems=refused.violations)


def _candidates(client: "MlflowClient", run: "Run") -> "Iterator[Run]":
    """Yield the finished runs of other processes whose tags say that they were made from the same, newest first."""
    tags = run.data.tags
    if not all(_PLAIN.fullmatch(tags.get(tag, "")) for tag in MADE_FROM):
        return  # altered: no run has recorded such a tag
    same = [f"tags.{tag} = '{tags[tag]}'" for tag in MADE_FROM]
    with reachable(client.tracking_uri):
        candidates = search_runs(client, " AND ".join([*_FINISHED, *same]), _SEARCHED_FOR_REPRODUCTIONS)
    for candidate in candidates:
        process = candidate.data.tags.get(PROCESS_TAG)
        if candidate.info.run_id != run.info.run_id and process not in (None, tags.get(PROCESS_TAG)):
            yield candidate
