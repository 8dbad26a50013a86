"""Validation: does a recorded run carry everything that is needed to make it again, and is none of it altered?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .evidence import Check, ManifestError, agreement
from .failure import FAILURE_TAG
from .policy import Policy, violations
from .project import team_policy
from .recorded_run import RecordedRun, find, read
from .store import connect, page

if TYPE_CHECKING:
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
    return judge(recorded, policy, page(client.tracking_uri, run))


def judge(recorded: RecordedRun, policy: Policy, place: str) -> Validation:
    """Ask every question of the run *recorded*, which a person finds at *place*."""
    run = recorded.run
    tags, params = run.data.tags, recorded.params
    found = violations(tags, params, policy)
    checks = (
        Check("status", _status(run) == "FINISHED", _status(run)),
        Check(
            "required tags and params",
            not found,
            "; ".join(map(str, found)) or f"{len(policy.required_tags)} tags, {len(policy.required_params)} params",
        ),
        *agreement(tags, params, recorded.evidence),
        *_entry_point(recorded),
    )
    return Validation(run.info.run_id, recorded.experiment, place, checks, run.data.metrics)


def _status(run: "Run") -> str:
    status = run.info.status if run.info.lifecycle_stage == "active" else f"{run.info.status}, deleted"
    reason = run.data.tags.get(FAILURE_TAG)
    return f"{status}: {reason}" if reason else status


def _entry_point(recorded: RecordedRun) -> Iterator[Check]:
    try:
        entry_point = recorded.manifest.get("entry_point")
    except ManifestError:
        return
    yield Check("entry point", entry_point is not None, entry_point or "started from no file of the project")
