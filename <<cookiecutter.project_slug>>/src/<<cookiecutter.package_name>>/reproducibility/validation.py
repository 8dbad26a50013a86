"""Validation: does a recorded run carry everything that is needed to make it again, and is none of it altered?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import completion
from .evidence import Check, ManifestError, agreement
from .failure import FAILURE_TAG
from .judgement import REPRODUCES, listed
from .policy import Policy, violations
from .project import team_policy
from .recorded_run import RecordedRun, find, read, unlike
from .store import connect, page
from .violation import Refused

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class Validation:
    """What was found out about one run, and where it is; it holds if every check does."""

    run_id: str
    experiment: str
    place: str
    checks: tuple[Check, ...]
    metrics: Mapping[str, float]

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)


def validate(reference: str) -> Validation:
    """Ask every question of the run that *reference* means, against the policy of configs/base.yaml.

    Raises Refused when the store has no such run, StoreUnavailable when it is away.
    """
    policy = team_policy()
    client = connect()
    run = find(client, reference)
    recorded = read(client, run)
    return judge(client, recorded, policy)


def judge(client: "MlflowClient", recorded: RecordedRun, policy: Policy) -> Validation:
    """Ask every question of the run *recorded*."""
    run = recorded.run
    tags, params = run.data.tags, recorded.params
    found = violations(tags, params, policy)
    checks = (
        Check("status", _status(run) == "FINISHED", _status(run)),
        Check(
            "required tags and params",
            not found,
            listed(found) or f"{len(policy.required_tags)} tags, {len(policy.required_params)} params",
        ),
        *agreement(tags, params, recorded.evidence),
        *_entry_point(recorded),
        *_repetition(client, recorded),
    )
    return Validation(run.info.run_id, recorded.experiment, page(client.tracking_uri, run), checks, run.data.metrics)


def _status(run: "Run") -> str:
    status = run.info.status if run.info.lifecycle_stage == "active" else f"{run.info.status}, deleted"
    reason = run.data.tags.get(FAILURE_TAG) or (status == "FINISHED" and completion.against(run.data.tags))
    return f"{status}: {reason}" if reason else status


def _entry_point(recorded: RecordedRun) -> Iterator[Check]:
    try:
        entry_point = recorded.manifest.get("entry_point")
    except ManifestError:
        return
    yield Check("entry point", entry_point is not None, entry_point or "started from no file of the project")


def _repetition(client: "MlflowClient", recorded: RecordedRun) -> Iterator[Check]:
    """Of a run that repeats another one: was it made from the same? It alone may have a config that is in no commit."""
    if (repeated := recorded.run.data.tags.get(REPRODUCES)) is None:
        return
    try:
        differing = unlike(read(client, find(client, repeated)), recorded)
    except (ManifestError, Refused, KeyError, TypeError) as error:
        yield Check("repeats its run", False, f"{repeated} cannot be compared with it ({error})")
    else:
        shown = "; ".join(f"{tag}: {other} instead of {first}" for tag, first, other in differing)
        yield Check("repeats its run", not differing, shown or repeated)
