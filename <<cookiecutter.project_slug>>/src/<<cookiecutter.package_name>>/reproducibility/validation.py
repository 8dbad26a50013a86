"""Validation: does a recorded run carry everything that is needed to make it again, and is none of it altered?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .config_file import config_digest, flatten
from .digest import digest
from .environment import LOCK
from .failure import FAILURE_TAG
from .policy import violations
from .project import team_policy
from .provenance import CONFIG, MANIFEST, PATCH
from .recorded_run import ManifestError, RecordedRun, find, read
from .store import connect, page
from .strict_yaml import decoded, parse
from .violation import Refused

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class Check:
    """One question asked of a run: whether it holds, and what was seen."""

    name: str
    holds: bool
    evidence: str


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
    found = violations(run.data.tags, run.data.params, policy)
    checks = (
        Check("status", _status(run) == "FINISHED", _status(run)),
        Check(
            "required tags and params",
            not found,
            "; ".join(map(str, found)) or f"{len(policy.required_tags)} tags, {len(policy.required_params)} params",
        ),
        *_evidence_checks(recorded),
    )
    return Validation(run.info.run_id, recorded.experiment, page(client.tracking_uri, run), checks, run.data.metrics)


def _status(run: "Run") -> str:
    status = run.info.status if run.info.lifecycle_stage == "active" else f"{run.info.status}, deleted"
    reason = run.data.tags.get(FAILURE_TAG)
    return f"{status}: {reason}" if reason else status


def _evidence_checks(recorded: RecordedRun) -> Iterator[Check]:
    """Compare the run's tags and params with its evidence, and the evidence with its digests."""
    tags, params, evidence = recorded.run.data.tags, recorded.run.data.params, recorded.evidence
    expected = [MANIFEST, CONFIG, LOCK, *([PATCH] if tags.get("git_dirty") == "true" else [])]
    missing = [name for name in expected if name not in evidence]
    yield Check("evidence", not missing, f"missing: {', '.join(missing)}" if missing else ", ".join(expected))
    if MANIFEST not in missing:
        yield from _manifest_checks(recorded)
    if CONFIG not in missing:
        try:
            values, _ = parse(decoded(evidence[CONFIG], CONFIG), CONFIG)
        except Refused as refused:
            problems = "; ".join(violation.problem for violation in refused.violations)
            yield Check("config", False, f"{CONFIG} cannot be read: {problems}")
        else:
            yield _same("config digest", tags.get("config_digest"), config_digest(values))
            yield _equal("params are the config's", params, flatten(values))
    if LOCK not in missing:
        yield _same("lock digest", tags.get("lock_digest"), digest(evidence[LOCK]))


def _manifest_checks(recorded: RecordedRun) -> Iterator[Check]:
    tags, params = recorded.run.data.tags, recorded.run.data.params
    try:
        manifest = recorded.manifest
    except ManifestError as problem:
        yield Check("manifest", False, str(problem))
        return
    yield _same("manifest digest", tags.get("manifest_digest"), recorded.manifest_digest)
    entry_point = manifest.get("entry_point")
    yield Check("entry point", entry_point is not None, entry_point or "started from no file of the project")
    yield _equal("tags are the manifest's", tags, manifest["tags"])
    yield _equal("params are the manifest's", params, manifest["params"])
    patch_digest = manifest.get("patch_digest")
    if PATCH in recorded.evidence or patch_digest:
        yield _same("patch digest", patch_digest, digest(recorded.evidence.get(PATCH, b"")))


def _same(name: str, recorded: str | None, computed: str) -> Check:
    if recorded == computed:
        return Check(name, True, computed)
    return Check(name, False, f"recorded {recorded or 'nothing'}, but what is there gives {computed}")


def _equal(name: str, recorded: Mapping[str, Any], expected: Mapping[str, Any]) -> Check:
    """Whether everything expected was recorded; what a run logs beside it is its own affair."""
    differing = sorted(key for key in expected if recorded.get(key) != expected[key])
    shown = ", ".join(f"{key}: {recorded.get(key)!r} instead of {expected[key]!r}" for key in differing[:5])
    more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
    return Check(name, not differing, f"{shown}{more}" if differing else f"{len(expected)} equal")
