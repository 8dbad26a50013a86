"""Validation: does a recorded run carry everything that its reproduction needs, and was none of it altered?"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..display import emit
from ..errors import Refused
from ..evidence import Check, ManifestError, agreement
from ..policy import Policy, violations
from ..project import team_policy
from ..rules import summary, why_incomplete
from ..tags import FAILURE_TAG, REPRODUCES
from .recorded import RecordedRun, find_run, origin_differences, read_run
from .store import connect, run_page

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from rich.console import Console


@dataclass(frozen=True)
class Validation:
    """The checks of one run, and where the run is recorded. The validation holds if every check does."""

    run_id: str
    experiment: str
    place: str
    checks: tuple[Check, ...]
    metrics: Mapping[str, float]

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)


def validate(reference: str) -> Validation:
    """Check the run that *reference* means against the policy of configs/base.yaml.

    Raises Refused if the store has no such run, and StoreUnavailable if the store is unreachable.
    """
    policy = team_policy()
    client = connect()
    return judge(client, read_run(client, find_run(client, reference)), policy)


def judge(client: "MlflowClient", recorded: RecordedRun, policy: Policy) -> Validation:
    """Check the run *recorded* against *policy*: its status, its tags, params and evidence, and what it reproduces."""
    run = recorded.run
    tags, params = run.data.tags, recorded.params
    found = violations(tags, params, policy)
    checks = (
        Check("status", _status(run) == "FINISHED", _status(run)),
        *(
            Check("status of the run around it", _status(each) == "FINISHED", f"{each.info.run_id}: {_status(each)}")
            for each in recorded.around
        ),
        Check(
            "required tags and params",
            not found,
            summary(found) or f"{len(policy.required_tags)} tags, {len(policy.required_params)} params",
        ),
        *agreement(tags, params, recorded.evidence),
        *_entry_point(recorded),
        *_same_origin(client, recorded),
    )
    return Validation(
        run.info.run_id, recorded.experiment, run_page(client.tracking_uri, run), checks, run.data.metrics
    )


def _status(run: "Run") -> str:
    status = run.info.status if run.info.lifecycle_stage == "active" else f"{run.info.status}, deleted"
    reason = run.data.tags.get(FAILURE_TAG) or (status == "FINISHED" and why_incomplete(run.data.tags))
    return f"{status}: {reason}" if reason else status


def _entry_point(recorded: RecordedRun) -> Iterator[Check]:
    try:
        entry_point = recorded.manifest.get("entry_point")
    except ManifestError:
        return
    yield Check("entry point", entry_point is not None, entry_point or "started from no file of the project")


def _same_origin(client: "MlflowClient", recorded: RecordedRun) -> Iterator[Check]:
    """Compare a reproduction's origin with that of the original run: a reproduction's config may be in no commit."""
    name = "same origin as the run it reproduces"
    if (original := recorded.run.data.tags.get(REPRODUCES)) is None:
        return
    try:
        differing = origin_differences(read_run(client, find_run(client, original)), recorded)
    except (ManifestError, Refused, KeyError, TypeError) as error:
        yield Check(name, False, f"it cannot be compared with run {original} ({error})")
    else:
        shown = "; ".join(f"{tag}: {second} instead of {first}" for tag, first, second in differing)
        yield Check(name, not differing, shown or original)


def show_validation(validation: Validation, as_json: bool = False) -> None:
    """Print the checks of a run: a table for people, or one JSON object."""
    emit(as_json, lambda: asdict(validation) | {"holds": validation.holds}, lambda console: _draw(console, validation))


def _draw(console: "Console", validation: Validation) -> None:
    from rich.table import Table

    console.print(f"\nrun {validation.run_id} of {validation.experiment}")
    if validation.metrics:
        metrics = Table("metric", "value")
        for name, value in sorted(validation.metrics.items()):
            metrics.add_row(name, f"{value:.6g}")
        console.print(metrics)
    checks = Table("", "check", "detail")
    for check in validation.checks:
        checks.add_row("ok" if check.holds else "NO", check.name, check.detail, style=None if check.holds else "red")
    console.print(checks)
    passed = sum(check.holds for check in validation.checks)
    verdict = "this run can be reproduced" if validation.holds else "nobody can rely on this run"
    console.print(f"{passed} of {len(validation.checks)} checks pass: {verdict}.")
    console.print(f"Recorded in {validation.place}\nTo look at the run: nox -s ui", soft_wrap=True)
