"""The judgement of the gate: what may be recorded, what may finish, and what nobody can change afterwards. Pure."""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from math import isclose, isnan
from typing import NamedTuple

from . import completion
from .evidence import agreement
from .failure import FAILURE_TAG
from .policy import Policy, violations
from .provenance import MLFLOW_TAGS, PROVENANCE_TAGS
from .violation import Violation

KEY = "reproducibility gate"
PARENT_TAG = "mlflow.parentRunId"
# The tags with the verdict on a run that was made again, and on the run that it repeats. What they mean: verdict.py.
REPRODUCES, REPRODUCED_BY, REPRODUCED_VERDICT = "reproduces", "reproduced_by", "reproduced_verdict"
HOLDING = ("identical", "within tolerance")
# What a run and the one that repeats it were both made from. (The config may name another place of the same data.)
_SHARED = ("git_commit", "data_version", "lock_digest")
CLOSED = frozenset({"FINISHED", "FAILED", "KILLED"})
# What a run that began with the team's defaults says anew, once, in the request that logs its first params.
RESTATED = frozenset({"config_digest", "data_version", "manifest_digest"})
_EMAIL = re.compile(r"[^<>]*<([^<>]+)>")
_SENTENCE = re.compile(rf"{KEY}: (.*?)\. To fix it: (.*)", re.DOTALL)
_WAY_OUT = "start it in the project with `nox -s train` or `with tracked_run(config):`, which see to all of this"


def frozen(policy: Policy) -> frozenset[str]:
    """Return the tags that nobody can change or take away once a run has them, or add when it has ended.

    Two are less than that: `REPRODUCES` can be taken away; `FAILURE_TAG` can be anything until the run has ended, and
    be added to a run that did not finish.
    """
    own = {PARENT_TAG, REPRODUCES, FAILURE_TAG, completion.DIGEST_TAG, completion.WORD_TAG}
    return PROVENANCE_TAGS | MLFLOW_TAGS.keys() | set(policy.required_tags) | own


def against_creation(tags: Mapping[str, str], policy: Policy, user: str | None) -> Violation | None:
    """Return why no run with *tags* may be created, if so. *user* is who logged in, if the server asks for that."""
    asked_now = policy.model_copy(update={"required_params": ()})  # params come with a later request
    if found := violations(tags, {}, asked_now):
        return Violation(KEY, f"this run could not be made again ({listed(found)})", _WAY_OUT)
    author = tags.get("author", "")
    email = _EMAIL.fullmatch(author)
    if user is not None and user not in (author, email and email[1]):
        problem = f"this run says that its author is {author[:80]!r}, but {user!r} is logged in"
        fix = f"set AUTHOR to {user!r}, or log in as the author (MLFLOW_TRACKING_USERNAME)"
        return Violation(KEY, problem, fix)
    return None


def against_finish(
    tags: Mapping[str, str], params: Mapping[str, str], files: Mapping[str, bytes], policy: Policy
) -> Violation | None:
    """Return why a run may not count as finished, if so: what it lacks, or where its evidence speaks against it."""
    if why := against_success(tags):
        return Violation(KEY, f"this run cannot finish: {why}", "train anew, and leave its end to `tracked_run`")
    if found := violations(tags, params, policy):
        return Violation(KEY, f"this run cannot finish, because it could not be made again ({listed(found)})", _WAY_OUT)
    if failing := [check for check in agreement(tags, params, files) if not check.holds]:
        against = "; ".join(f"{check.name}: {check.evidence}" for check in failing)
        problem = f"this run cannot finish, because its evidence does not hold ({against})"
        fix = "run it with `tracked_run(config)`, or call `log_reproducibility_info(config)` first in it, and leave "
        return Violation(KEY, problem, f"{fix}the files in its folder reproducibility/ as they are")
    return None


def against_success(tags: Mapping[str, str]) -> str | None:
    """Return why a run did not succeed, as a clause, if its own *tags* say so, whatever its status is."""
    if FAILURE_TAG in tags:
        return f"its tag `{FAILURE_TAG}` says {tags[FAILURE_TAG]!r}"
    return completion.against(tags)


def against_change(what: str, run_id: str, status: str) -> Violation:
    """Return why *what*, a clause such as ``it takes no more metrics``, for a run that has ended."""
    problem = f"run {run_id} has ended {status} and its record is closed: {what}"
    return Violation(KEY, problem, "start a new run; notes and tags of your own can still be added to this one")


class Told(NamedTuple):
    """What a tracking store tells of a run: its last metrics, not their history."""

    run_id: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def is_protected(alias: str, policy: Policy) -> bool:
    """Whether *alias*, in whatever case, is one that only a reproduced run's model may have."""
    return alias.casefold() in {protected.casefold() for protected in policy.protected_aliases}


def against_repetition(run: Told, second: Told, policy: Policy) -> str | None:
    """Return why *second* does not show, as far as a server can see, that *run* can be made again: as a clause.

    A tag alone is not believed: both runs must have been made from the same, and end with the same metrics.
    """
    verdict = run.tags.get(REPRODUCED_VERDICT, "none")
    if verdict not in HOLDING:
        return f"the verdict on its run {run.run_id} is {verdict!r}"
    if second.run_id == run.run_id or second.tags.get(REPRODUCES) != run.run_id:
        return f"run {second.run_id} does not repeat its run {run.run_id}"
    if differing := [tag for tag in _SHARED if run.tags.get(tag) != second.tags.get(tag)]:
        return f"run {second.run_id} was made from another {', '.join(differing)}"
    rules = policy.tolerance
    for name in sorted(run.metrics.keys() | second.metrics.keys()):
        if any(fnmatchcase(name, pattern) for pattern in rules.not_compared):
            continue
        one, other = run.metrics.get(name), second.metrics.get(name)
        same = one == other or (one is not None and other is not None and isnan(one) and isnan(other))
        if not same and (
            one is None or other is None or not isclose(one, other, rel_tol=rules.rtol, abs_tol=rules.atol)
        ):
            return f"the metric {name} is {one!r} in its run {run.run_id} and {other!r} in run {second.run_id}"
    return None


def against_alias(what: str, why: str, run_id: str) -> Violation:
    """Return why an alias may not point to a model: *what* and *why* as clauses; *run_id* names the run to promote."""
    fix = f"`repro reproduce {run_id}`, then `repro promote {run_id}`, which says what else is missing"
    return Violation(KEY, f"{what}: {why}", fix)


def violation_in(message: str) -> Violation | None:
    """Return what a gate says in an error *message* of MLflow's client, if it is one of a gate's."""
    found = _SENTENCE.search(message)
    return Violation(KEY, found[1], found[2].strip()) if found else None


def listed(found: Iterable[Violation]) -> str:
    """Name what is missing in one go, and each other problem by itself."""
    missing = [violation.key for violation in found if violation.problem.endswith(("is missing", "is empty"))]
    others = [f"{each.key}: {each.problem}" for each in found if each.key not in missing]
    return "; ".join([*([f"it has no {', '.join(missing)}"] if missing else []), *others])
