"""Validation: does a recorded run carry everything that is needed to make it again, and is none of it altered?"""

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
    run = find_run(client, reference)
    recorded = read_run(client, run)
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
            summary(found) or f"{len(policy.required_tags)} tags, {len(policy.required_params)} params",
        ),
        *agreement(tags, params, recorded.evidence),
        *_entry_point(recorded),
        *_repetition(client, recorded),
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


def _repetition(client: "MlflowClient", recorded: RecordedRun) -> Iterator[Check]:
    """Of a run that repeats another one: was it made from the same? It alone may have a config that is in no commit."""
    if (repeated := recorded.run.data.tags.get(REPRODUCES)) is None:
        return
    try:
        differing = origin_differences(read_run(client, find_run(client, repeated)), recorded)
    except (ManifestError, Refused, KeyError, TypeError) as error:
        yield Check("repeats its run", False, f"{repeated} cannot be compared with it ({error})")
    else:
        shown = "; ".join(f"{tag}: {other} instead of {first}" for tag, first, other in differing)
        yield Check("repeats its run", not differing, shown or repeated)


def show_validation(validation: Validation, as_json: bool = False) -> None:
    """Print what was found out about a run: a table for people, or one JSON object."""
    emit(as_json, lambda: asdict(validation) | {"holds": validation.holds}, lambda console: _draw(console, validation))


def _draw(console: "Console", validation: Validation) -> None:
    from rich.table import Table

    console.print(f"\nrun {validation.run_id} of {validation.experiment}")
    if validation.metrics:
        metrics = Table("metric", "value")
        for name, value in sorted(validation.metrics.items()):
            metrics.add_row(name, f"{value:.6g}")
        console.print(metrics)
    checks = Table("", "check", "evidence")
    for check in validation.checks:
        checks.add_row("ok" if check.holds else "NO", check.name, check.evidence, style=None if check.holds else "red")
    console.print(checks)
    kept = sum(check.holds for check in validation.checks)
    verdict = "this run can be made again" if validation.holds else "nobody can rely on this run"
    console.print(f"{kept} of {len(validation.checks)} checks hold: {verdict}.")
    console.print(f"Recorded in {validation.place}\nTo look at it: nox -s ui", soft_wrap=True)
