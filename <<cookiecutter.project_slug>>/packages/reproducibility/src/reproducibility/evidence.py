"""The evidence of a run: the files kept with it, and whether they and what the run says of itself agree."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from .config.values import config_digest, flatten
from .config.yaml import decoded, parse_yaml
from .digest import canonical, digest
from .errors import Refused
from .lockfile import LOCK

# The folder of the evidence among a run's artifacts, and the files in it beside the lock.
EVIDENCE = "reproducibility"
MANIFEST, CONFIG, PATCH = "manifest.json", "config.yaml", "uncommitted.patch"
MANIFEST_SCHEMA = 1


class ManifestError(ValueError):
    """A manifest is none, or is written in a way that this version of the project does not know."""


class _File(BaseModel):
    path: str
    size: int
    digest: str


class _Manifest(BaseModel):
    """What the readers of a manifest rely on; there is more in it."""

    model_config = ConfigDict(strict=True)

    tags: dict[str, str]
    params: dict[str, str]
    policy: dict[str, Any]
    patch_digest: str | None
    data_files: list[_File]
    environment: dict[str, Any]
    overrides: list[str]
    entry_point: str | None
    # Manifests of schema 1 did not always have them.
    config_files: list[str] = []


@dataclass(frozen=True)
class Check:
    """One question asked of a run: whether it holds, and what was seen."""

    name: str
    holds: bool
    evidence: str


def manifest_in(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the manifest among the evidence *files*; raises ManifestError, with what is wrong as a clause."""
    if MANIFEST not in files:
        raise ManifestError(f"the run has no {MANIFEST}")
    try:
        manifest = json.loads(files[MANIFEST].decode("utf-8", "surrogateescape"))
        canonical(manifest)  # no NaN, which JSON does not have
        schema = manifest["schema"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ManifestError(f"{MANIFEST} is no manifest") from None
    if schema != MANIFEST_SCHEMA:
        known = f"this version of the project reads {MANIFEST_SCHEMA}: update it"
        raise ManifestError(f"{MANIFEST} has the schema {str(schema)[:20]!r}, and {known}")
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise ManifestError(f"{MANIFEST} is no manifest: {place[:80]}") from None
    return manifest


def agreement(tags: Mapping[str, str], params: Mapping[str, str], files: Mapping[str, bytes]) -> Iterator[Check]:
    """Compare a run's *tags* and *params* with the *files* of its evidence, and those with their digests."""
    expected = [MANIFEST, CONFIG, LOCK, *([PATCH] if tags.get("git_dirty") == "true" else [])]
    missing = [name for name in expected if name not in files]
    yield Check("evidence", not missing, f"missing: {', '.join(missing)}" if missing else ", ".join(expected))
    if MANIFEST not in missing:
        yield from _manifest_checks(tags, params, files)
    if CONFIG not in missing:
        try:
            values, _ = parse_yaml(decoded(files[CONFIG], CONFIG), CONFIG)
        except Refused as refused:
            problems = "; ".join(violation.problem for violation in refused.violations)
            yield Check("config", False, f"{CONFIG} cannot be read: {problems}")
        else:
            yield _same("config digest", tags.get("config_digest"), config_digest(values))
            yield _equal("params are the config's", params, flatten(values))
    if LOCK not in missing:
        yield _same("lock digest", tags.get("lock_digest"), digest(files[LOCK]))


def _manifest_checks(tags: Mapping[str, str], params: Mapping[str, str], files: Mapping[str, bytes]) -> Iterator[Check]:
    try:
        manifest = manifest_in(files)
    except ManifestError as error:
        yield Check("manifest", False, str(error))
        return
    yield _same("manifest digest", tags.get("manifest_digest"), digest(canonical(manifest)))
    yield _equal("tags are the manifest's", tags, manifest["tags"])
    yield _equal("params are the manifest's", params, manifest["params"])
    patch_digest = manifest.get("patch_digest")
    if PATCH in files or patch_digest:
        yield _same("patch digest", patch_digest, digest(files.get(PATCH, b"")))


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
