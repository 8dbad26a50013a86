"""The rules of the gate: which runs may be created and finished, and what nobody can change afterwards. Pure."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from .digest import digest
from .errors import GATE, Violation
from .evidence import agreement
from .policy import Policy, violations
from .secrets import recordable
from .tags import (
    FAILURE_TAG,
    MADE_FROM,
    MLFLOW_TAGS,
    OFFLINE_TAG,
    ORIGIN_TAGS,
    PARENT_TAG,
    PROCESS_TAG,
    PROVENANCE_TAGS,
    REPRODUCED_VERDICT,
    REPRODUCES,
    REPRODUCES_VERDICT,
    RESTATED,
    SWEEP_TAG,
    TOKEN_DIGEST_TAG,
    TOKEN_TAG,
    TRIAL_TAG,
    VIOLATIONS_TAG,
)

R = TypeVar("R")

HOLDING = ("identical", "within tolerance")  # the verdicts of a reproduction that matches
CLOSED = frozenset({"FINISHED", "FAILED", "KILLED"})
# Tags that may change until the run has ended: what MLflow says of its code and its models, which process it is, and
# what breaks the policy.
CLOSED_TAGS = frozenset(
    {"mlflow.source.name", "mlflow.source.type", "mlflow.log-model.history", PROCESS_TAG, VIOLATIONS_TAG}
)
# A name, which is no address, and the address.
_EMAIL = re.compile(r"[^<>@]*<([^<>]+)>")
_LONGEST_NOTE = 5000  # MLflow cuts a tag after 8000 characters
_ID = re.compile(r"[0-9a-f]{32}")
_START_ANEW = "start it in the project with `nox -s train` or `with tracked_run(config):`, which set all of this"


def frozen(policy: Policy) -> frozenset[str]:
    """Return the tags that nobody can change or delete on a run that has them, nor add to a run that has ended.

    There are two exceptions. `REPRODUCES` can be deleted. `FAILURE_TAG` can change until the run has ended, and can be
    added to a run that ended without success.
    """
    own = {PARENT_TAG, REPRODUCES, FAILURE_TAG, TOKEN_DIGEST_TAG, TOKEN_TAG, OFFLINE_TAG, SWEEP_TAG, TRIAL_TAG}
    return PROVENANCE_TAGS | MLFLOW_TAGS.keys() | set(policy.required_tags) | own


def creation_refusal(tags: Mapping[str, str], policy: Policy, user: str | None) -> Violation | None:
    """Return why a run with *tags* may not be created; None if it may.

    *user* is the login of the request; None on a server without logins.
    """
    if policy.enforce == "refuse" and (found := creation_violation(tags, policy)):
        return found
    author = tags.get("author", "")
    email = _EMAIL.fullmatch(author) if author.isprintable() else None
    if user is not None and user not in (author, email and email[1]):
        problem = f"the author of this run is {author[:80]!r}, but {user!r} is logged in"
        fix = f"set AUTHOR to {user!r}, or log in as the author (MLFLOW_TRACKING_USERNAME)"
        return Violation(GATE, problem, fix)
    return None


def creation_violation(tags: Mapping[str, str], policy: Policy) -> Violation | None:
    """Return in what a new run with *tags* breaks *policy*; None if it does not."""
    asked_now = policy.model_copy(update={"required_params": ()})  # params arrive in a later request
    if found := violations(tags, {}, asked_now):
        return Violation(GATE, f"this run could not be reproduced ({summary(found)})", _START_ANEW)
    if policy.offline_runs == "refuse" and OFFLINE_TAG in tags:
        problem = "this run was begun offline and the policy says `offline_runs: refuse`"
        return Violation(GATE, problem, "start it again while the server answers")
    return None


def noted(tags: Mapping[str, str], problem: str) -> str:
    """Return the text of `VIOLATIONS_TAG` for a run that has *tags* and the *problem* too."""
    before, new = tags.get(VIOLATIONS_TAG, ""), recordable(problem)
    return before if new in before else f"{before}; {new}".removeprefix("; ")[:_LONGEST_NOTE]


def id_refusal(chosen: str) -> Violation | None:
    """Return why a client may not choose the id *chosen* for a new run; None if it may."""
    if _ID.fullmatch(chosen):
        return None
    return Violation(
        GATE, f"{chosen[:80]!r} is no id of a run", "use 32 hexadecimal digits, or leave the id to the server"
    )


def inherited(given: Mapping[str, str], parent: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a new run inside a run with the tags *parent*; *given* are those of the request.

    A run inside another one is part of that run, and so has the same provenance, wherever it is begun: a thread or a
    worker knows only the team's defaults.
    """
    return {**given, **{tag: parent[tag] for tag in PROVENANCE_TAGS | MLFLOW_TAGS.keys() if tag in parent}}


def membership_refusal(given: Mapping[str, str], parent: Mapping[str, str], parent_id: str) -> Violation | None:
    """Return why a run that has the tags *given* cannot be part of the run *parent_id*; None if it can.

    Its config and its data are taken from the parent. Other code or other packages are refused: they did not make a
    part of that run.
    """
    made_of = sorted(set(ORIGIN_TAGS) - RESTATED)
    differing = [tag for tag in made_of if tag in given and given[tag] != parent.get(tag)]
    if not differing:
        return None
    values = ", ".join(f"{tag} {given[tag][:80]} instead of {parent.get(tag)}" for tag in differing)
    problem = f"this run cannot be part of run {parent_id}, because it was begun by other code ({values})"
    return Violation(GATE, problem, "begin it with the commit and the packages of that run, or as a run of its own")


def ending_refusal(tags: Mapping[str, str], run_id: str, wanted: str) -> Violation | None:
    """Return why the run with *tags* may not end now as *wanted*; None if it may.

    Only `tracked_run` ends a run that it began: it proves that with its token, or says why the run failed. Whoever else
    ends the run, such as a step in another process that joined it, would end it while it is still going on.
    """
    if FAILURE_TAG in tags or why_incomplete(tags) is None:
        return None
    problem = f"run {run_id} cannot become {wanted} here: only the `tracked_run` that began it ends it"
    fix = f"leave its end to that block; if its process is dead, set its tag `{FAILURE_TAG}` first, with the reason"
    return Violation(GATE, problem, fix)


def token_refusal(tags: Mapping[str, str], token: str | None, run_id: str) -> Violation | None:
    """Return why a run with *tags* does not take *token*; None if it does. A false one would keep the true one out."""
    if token is not None and why_incomplete({**tags, TOKEN_TAG: token}) is None:
        return None
    problem = f"the token does not fit run {run_id}"
    return Violation(GATE, problem, "leave the token to the `tracked_run` that began the run")


def finish_refusal(
    tags: Mapping[str, str], params: Mapping[str, str], files: Mapping[str, bytes], policy: Policy
) -> Violation | None:
    """Return why a run may not finish: what is missing, or which part of its evidence disagrees; None if it may."""
    if why := why_unsuccessful(tags):
        return Violation(GATE, f"this run cannot finish: {why}", "train anew, and leave its end to `tracked_run`")
    if found := violations(tags, params, policy):
        return Violation(
            GATE, f"this run cannot finish, because it could not be reproduced ({summary(found)})", _START_ANEW
        )
    if failing := [check for check in agreement(tags, params, files) if not check.holds]:
        details = "; ".join(f"{check.name}: {check.detail}" for check in failing)
        problem = f"this run cannot finish, because its evidence does not hold ({details})"
        fix = "run it with `tracked_run(config)`, or call `log_reproducibility_info(config)` first in it, and leave "
        return Violation(GATE, problem, f"{fix}the files in its folder reproducibility/ as they are")
    return None


def why_unsuccessful(tags: Mapping[str, str]) -> str | None:
    """Return, as a clause, why a run with *tags* has failed, whatever its status is; None if it has not."""
    if FAILURE_TAG in tags:
        return f"its tag `{FAILURE_TAG}` says {tags[FAILURE_TAG]!r}"
    return why_incomplete(tags)


def change_refusal(what: str, run_id: str, status: str) -> Violation:
    """Return why a run that has ended cannot change. *what* is a clause, for example ``it takes no more metrics``."""
    problem = f"run {run_id} has ended {status} and its record is closed: {what}"
    return Violation(GATE, problem, "start a new run; notes and tags of your own can still be added to this one")


def outward(run: R, tags: Callable[[R], Mapping[str, str]], find: Callable[[str], R | None]) -> Iterator[R]:
    """Yield *run*, then the run that it is nested in, and so on, as far as `find` knows them.

    A nested run is part of the run around it: the same code made it, from the same config and data. So its evidence
    and params are those of the first of these runs that has a manifest. A trial of a sweep is no part of the sweep's
    run, so it is the last one. Ends where altered tags lead in a circle.
    """
    seen = set()
    while run is not None:
        yield run
        parent = tags(run).get(PARENT_TAG)
        if not parent or parent in seen or TRIAL_TAG in tags(run):
            return
        seen.add(parent)
        run = find(parent)


class StoredRun(NamedTuple):
    """What a tracking store knows about a run. metrics: the last value of each, not the history."""

    run_id: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def is_protected(alias: str, policy: Policy) -> bool:
    """Whether the policy protects *alias*: then it may only point to the model of a reproduced run.

    So is an alias that only looks like a protected one: in capitals, or in the wide letters of East Asian fonts.
    """
    return _looks(alias) in map(_looks, policy.protected_aliases)


def _looks(alias: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", alias).casefold())


def why_not_reproduced(run: StoredRun, reproduction: StoredRun, policy: Policy) -> str | None:
    """Return, as a clause, why *reproduction* does not show that *run* is reproducible; None if it does.

    A tag with a verdict is not enough: both runs must have the same commit, data and lock, and their last metrics must
    match. A server can check no more than that.
    """
    verdict = run.tags.get(REPRODUCED_VERDICT, "none")
    if verdict not in HOLDING:
        return f"the verdict on its run {run.run_id} is {verdict!r}"
    if reproduction.run_id == run.run_id or reproduction.tags.get(REPRODUCES) != run.run_id:
        return f"run {reproduction.run_id} does not reproduce its run {run.run_id}"
    if differing := [tag for tag in MADE_FROM if run.tags.get(tag) != reproduction.tags.get(tag)]:
        return f"run {reproduction.run_id} has another {', '.join(differing)}"
    for name in filter(policy.tolerance.compares, sorted(run.metrics.keys() | reproduction.metrics.keys())):
        one, other = run.metrics.get(name), reproduction.metrics.get(name)
        if one is None or other is None or not policy.tolerance.match(one, other):
            return f"the metric {name} is {one!r} in its run {run.run_id} and {other!r} in run {reproduction.run_id}"
    verdict = reproduction.tags.get(REPRODUCES_VERDICT, "none")
    return None if verdict in HOLDING else f"the verdict of its reproduction, run {reproduction.run_id}, is {verdict!r}"


def why_not_its_model(place: str, models: Iterable[Any], run_id: str) -> str | None:
    """Return, as a clause, why the files at *place* are no model of run *run_id*; None if they are.

    *models*: the logged models (MLflow's entities) that the outputs of the run name.
    """
    if place in {model.artifact_location for model in models if model.source_run_id == run_id}:
        return None
    return f"it is not the model that run {run_id} logged"


def alias_refusal(what: str, why: str, run_id: str) -> Violation:
    """Return why an alias may not point to a model. *what* and *why* are clauses; *run_id* is the run to promote."""
    fix = f"`repro reproduce {run_id}`, then `repro promote {run_id}`, which reports what else is missing"
    return Violation(GATE, f"{what}: {why}", fix)


def summary(found: Iterable[Violation]) -> str:
    """Return *found* in one clause: first the keys that are missing, then each other problem."""
    missing = [violation.key for violation in found if violation.problem.endswith(("is missing", "is empty"))]
    others = [f"{each.key}: {each.problem}" for each in found if each.key not in missing]
    return "; ".join([*([f"it has no {', '.join(missing)}"] if missing else []), *others])


def why_incomplete(tags: Mapping[str, str]) -> str | None:
    """Return, as a clause, why a run with *tags* is not complete; None if it is.

    A one-time token proves that the process that began the run also ended it. The digest of the token is a tag from
    the start, and the token itself becomes one just before the end. A run without the digest was not begun by
    `tracked_run`, and anything may end it.
    """
    expected = tags.get(TOKEN_DIGEST_TAG)
    if expected is None or digest(tags.get(TOKEN_TAG, "").encode()) == expected:
        return None
    return "it was ended, from outside or inside its block, before `tracked_run` ended it"
