"""Validation: does a recorded run carry everything that is needed to make it again, and is none of it altered?"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config_file import config_digest, flatten
from .digest import canonical, digest
from .environment import LOCK
from .failure import FAILURE_TAG
from .policy import violations
from .provenance import CONFIG, MANIFEST, MANIFEST_SCHEMA, PATCH, team_policy
from .store import connect, page, reachable, require_at_home
from .strict_yaml import read
from .tracking import EVIDENCE
from .url import without_credentials
from .violation import Refused, Violation

if TYPE_CHECKING:
    from mlflow import MlflowClient
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


def validate(run_id: str) -> Validation:
    """Ask every question of the run *run_id* in the tracking store, against the policy of configs/base.yaml.

    Raises Refused when the store has no such run, StoreUnavailable when it is away.
    """
    policy = team_policy()
    client = connect()
    run = _find(client, run_id)
    found = violations(run.data.tags, run.data.params, policy)
    with tempfile.TemporaryDirectory() as folder:
        with reachable(client.tracking_uri):
            experiment = client.get_experiment(run.info.experiment_id)
            require_at_home(client.tracking_uri, experiment)
            if any(file.path == EVIDENCE for file in client.list_artifacts(run_id)):
                client.download_artifacts(run_id, EVIDENCE, folder)
        checks = (
            Check("status", _status(run) == "FINISHED", _status(run)),
            Check(
                "required tags and params",
                not found,
                "; ".join(map(str, found)) or f"{len(policy.required_tags)} tags, {len(policy.required_params)} params",
            ),
            *_evidence_checks(run, Path(folder, EVIDENCE)),
        )
    return Validation(run_id, experiment.name, page(client.tracking_uri, run), checks, run.data.metrics)


def _find(client: "MlflowClient", run_id: str) -> "Run":
    from mlflow.exceptions import MlflowException

    with reachable(client.tracking_uri):
        try:
            return client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
    fix = "copy the id from the run's page or from what the training printed; MLFLOW_TRACKING_URI says where to look"
    raise Refused([Violation("run id", f"{without_credentials(client.tracking_uri)} has no run {run_id[:80]!r}", fix)])


def _status(run: "Run") -> str:
    status = run.info.status if run.info.lifecycle_stage == "active" else f"{run.info.status}, deleted"
    reason = run.data.tags.get(FAILURE_TAG)
    return f"{status}: {reason}" if reason else status


def _evidence_checks(run: "Run", folder: Path) -> Iterator[Check]:
    """Compare the run's tags and params with its evidence in *folder*, and the evidence with its digests."""
    tags, params = run.data.tags, run.data.params
    expected = [MANIFEST, CONFIG, LOCK, *([PATCH] if tags.get("git_dirty") == "true" else [])]
    missing = [name for name in expected if not (folder / name).is_file()]
    yield Check("evidence", not missing, f"missing: {', '.join(missing)}" if missing else ", ".join(expected))
    if MANIFEST not in missing:
        yield from _manifest_checks(tags, params, (folder / MANIFEST).read_bytes(), folder)
    if CONFIG not in missing:
        try:
            values, _ = read(folder / CONFIG)
        except Refused as refused:
            problems = "; ".join(violation.problem for violation in refused.violations)
            yield Check("config", False, f"{CONFIG} cannot be read: {problems}")
        else:
            yield _same("config digest", tags.get("config_digest"), config_digest(values))
            yield _equal("params are the config's", params, flatten(values))
    if LOCK not in missing:
        yield _same("lock digest", tags.get("lock_digest"), digest((folder / LOCK).read_bytes()))


def _manifest_checks(
    tags: Mapping[str, str], params: Mapping[str, str], content: bytes, folder: Path
) -> Iterator[Check]:
    try:
        manifest = json.loads(content.decode("utf-8", "surrogateescape"))
        manifest_digest = digest(canonical(manifest))
        schema, its_tags, its_params = manifest["schema"], dict(manifest["tags"]), dict(manifest["params"])
        patch_digest, entry_point = manifest["patch_digest"], manifest["entry_point"]
    except (ValueError, TypeError, KeyError):
        yield Check("manifest", False, f"{MANIFEST} is no manifest")
        return
    yield _same("manifest digest", tags.get("manifest_digest"), manifest_digest)
    if schema != MANIFEST_SCHEMA:
        yield Check(
            "manifest", False, f"schema {schema}, this version of the project reads {MANIFEST_SCHEMA}: update it"
        )
        return
    yield Check("entry point", entry_point is not None, entry_point or "started from no file of the project")
    yield _equal("tags are the manifest's", tags, its_tags)
    yield _equal("params are the manifest's", params, its_params)
    if (folder / PATCH).is_file() or patch_digest:
        patch = (folder / PATCH).read_bytes() if (folder / PATCH).is_file() else b""
        yield _same("patch digest", patch_digest, digest(patch))


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
