"""The judgement of the gate: what may be recorded, what may finish, and what nobody can change afterwards. Pure."""

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from .digest import digest
from .errors import GATE, Violation
from .evidence import agreement
from .policy import Policy, violations
from .tags import (
    FAILURE_TAG,
    MADE_FROM,
    MLFLOW_TAGS,
    PARENT_TAG,
    PROVENANCE_TAGS,
    REPRODUCED_VERDICT,
    REPRODUCES,
    TOKEN_DIGEST_TAG,
    TOKEN_TAG,
)

R = TypeVar("R")

HOLDING = ("identical", "within tolerance")
CLOSED = frozenset({"FINISHED", "FAILED", "KILLED"})
_EMAIL = re.compile(r"[^<>]*<([^<>]+)>")
_WAY_OUT = "start it in the project with `nox -s train` or `with tracked_run(config):`, which see to all of this"


def frozen(policy: Policy) -> frozenset[str]:
    """Return the tags that nobody can change or take away once a run has them, or add when it has ended.

    Two are less than that: `REPRODUCES` can be taken away; `FAILURE_TAG` can be anything until the run has ended, and
    be added to a run that did not finish.
    """
    own = {PARENT_TAG, REPRODUCES, FAILURE_TAG, TOKEN_DIGEST_TAG, TOKEN_TAG}
    return PROVENANCE_TAGS | MLFLOW_TAGS.keys() | set(policy.required_tags) | own


def creation_refusal(tags: Mapping[str, str], policy: Policy, user: str | None) -> Violation | None:
    """Return why no run with *tags* may be created, if so. *user* is who logged in, if the server asks for that."""
    asked_now = policy.model_copy(update={"required_params": ()})  # params come with a later request
    if found := violations(tags, {}, asked_now):
        return Violation(GATE, f"this run could not be made again ({summary(found)})", _WAY_OUT)
    author = tags.get("author", "")
    email = _EMAIL.fullmatch(author)
    if user is not None and user not in (author, email and email[1]):
        problem = f"this run says that its author is {author[:80]!r}, but {user!r} is logged in"
        fix = f"set AUTHOR to {user!r}, or log in as the author (MLFLOW_TRACKING_USERNAME)"
        return Violation(GATE, problem, fix)
    return None


def finish_refusal(
    tags: Mapping[str, str], params: Mapping[str, str], files: Mapping[str, bytes], policy: Policy
) -> Violation | None:
    """Return why a run may not count as finished, if so: what it lacks, or where its evidence speaks against it."""
    if why := why_unsuccessful(tags):
        return Violation(GATE, f"this run cannot finish: {why}", "train anew, and leave its end to `tracked_run`")
    if found := violations(tags, params, policy):
        return Violation(
            GATE, f"this run cannot finish, because it could not be made again ({summary(found)})", _WAY_OUT
        )
    if failing := [check for check in agreement(tags, params, files) if not check.holds]:
        against = "; ".join(f"{check.name}: {check.evidence}" for check in failing)
        problem = f"this run cannot finish, because its evidence does not hold ({against})"
        fix = "run it with `tracked_run(config)`, or call `log_reproducibility_info(config)` first in it, and leave "
        return Violation(GATE, problem, f"{fix}the files in its folder reproducibility/ as they are")
    return None


def why_unsuccessful(tags: Mapping[str, str]) -> str | None:
    """Return why a run did not succeed, as a clause, if its own *tags* say so, whatever its status is."""
    if FAILURE_TAG in tags:
        return f"its tag `{FAILURE_TAG}` says {tags[FAILURE_TAG]!r}"
    return why_incomplete(tags)


def change_refusal(what: str, run_id: str, status: str) -> Violation:
    """Return why *what*, a clause such as ``it takes no more metrics``, for a run that has ended."""
    problem = f"run {run_id} has ended {status} and its record is closed: {what}"
    return Violation(GATE, problem, "start a new run; notes and tags of your own can still be added to this one")


def outward(run: R, tags: Callable[[R], Mapping[str, str]], find: Callable[[str], R | None]) -> Iterator[R]:
    """Yield *run*, then the run that it is nested in, and so on, as far as `find` knows them.

    A nested run is part of the run around it: the same code made it, from the same config and data. So its evidence
    and params are those of the first of these runs that has a manifest. Ends where altered tags lead in a circle.
    """
    seen = set()
    while run is not None:
        yield run
        parent = tags(run).get(PARENT_TAG)
        if not parent or parent in seen:
            return
        seen.add(parent)
        run = find(parent)


class StoredRun(NamedTuple):
    """What a tracking store tells of a run: its last metrics, not their history."""

    run_id: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def is_protected(alias: str, policy: Policy) -> bool:
    """Whether *alias*, in whatever case, is one that only a reproduced run's model may have."""
    return alias.casefold() in {protected.casefold() for protected in policy.protected_aliases}


def why_not_reproduced(run: StoredRun, second: StoredRun, policy: Policy) -> str | None:
    """Return why *second* does not show, as far as a server can see, that *run* can be made again: as a clause.

    A tag alone is not believed: both runs must have been made from the same, and end with the same metrics.
    """
    verdict = run.tags.get(REPRODUCED_VERDICT, "none")
    if verdict not in HOLDING:
        return f"the verdict on its run {run.run_id} is {verdict!r}"
    if second.run_id == run.run_id or second.tags.get(REPRODUCES) != run.run_id:
        return f"run {second.run_id} does not repeat its run {run.run_id}"
    if differing := [tag for tag in MADE_FROM if run.tags.get(tag) != second.tags.get(tag)]:
        return f"run {second.run_id} was made from another {', '.join(differing)}"
    for name in filter(policy.tolerance.compares, sorted(run.metrics.keys() | second.metrics.keys())):
        one, other = run.metrics.get(name), second.metrics.get(name)
        if one is None or other is None or not policy.tolerance.match(one, other):
            return f"the metric {name} is {one!r} in its run {run.run_id} and {other!r} in run {second.run_id}"
    return None


def alias_refusal(what: str, why: str, run_id: str) -> Violation:
    """Return why an alias may not point to a model: *what* and *why* as clauses; *run_id* names the run to promote."""
    fix = f"`repro reproduce {run_id}`, then `repro promote {run_id}`, which says what else is missing"
    return Violation(GATE, f"{what}: {why}", fix)


def summary(found: Iterable[Violation]) -> str:
    """Name what is missing in one go, and each other problem by itself."""
    missing = [violation.key for violation in found if violation.problem.endswith(("is missing", "is empty"))]
    others = [f"{each.key}: {each.problem}" for each in found if each.key not in missing]
    return "; ".join([*([f"it has no {', '.join(missing)}"] if missing else []), *others])


def new_token() -> tuple[str, str]:
    """Return a word that nobody can guess, and its digest."""
    word = secrets.token_hex(16)
    return word, digest(word.encode())


def why_incomplete(tags: Mapping[str, str]) -> str | None:
    """Return why a run with *tags* is not complete, as a clause; a run without the digest ends whenever it likes."""
    expected = tags.get(TOKEN_DIGEST_TAG)
    if expected is None or digest(tags.get(TOKEN_TAG, "").encode()) == expected:
        return None
    return "it was ended from outside or inside its block, before `tracked_run` was through"
