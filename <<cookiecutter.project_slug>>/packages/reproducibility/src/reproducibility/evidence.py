"""The evidence of a run: the files kept with the run, and whether its tags and params agree with them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from .config.values import config_digest, flatten
from .config.yaml import decoded, parse_yaml
from .digest import canonical, digest
from .display import listed
from .errors import Refused
from .lockfile import LOCK

# The folder of the evidence among the artifacts of a run, and its files. The lock is the fourth.
EVIDENCE = "reproducibility"
MANIFEST, CONFIG, PATCH = "manifest.json", "config.yaml", "uncommitted.patch"
MANIFEST_SCHEMA = 1
# The most bytes that each may have, so that reading one run's evidence does not keep a server from answering others.
MOST_BYTES = {MANIFEST: 64 * 1024**2, CONFIG: 256 * 1024, LOCK: 8 * 1024**2, PATCH: 64 * 1024**2}


class ManifestError(ValueError):
    """A manifest is missing, invalid, or has a schema that this version of the machinery does not know."""


def _word(text: str) -> str:
    if "\0" in text:
        raise ValueError("no system call takes a NUL")
    return text


# What becomes an argument of a program, a variable of the environment or a path.
_Word = Annotated[str, AfterValidator(_word)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _File(_Strict):
    path: str
    size: int
    digest: str


class _Numerics(_Strict):
    processors: Annotated[int, Field(ge=1)] | None
    # A reproduction sets them: no value of a variable has a zero byte.
    variables: dict[str, Annotated[str, Field(pattern=r"^[^\x00]*$")]]
    cpu_quota: float | None
    torch: dict[str, Any] | None


class _Policy(_Strict):
    """The part of a recorded policy that its readers rely on; manifests of older versions do not have it."""

    data_not_versioned: list[str] = []


class _Tags(_Strict, extra="allow"):
    __pydantic_extra__: dict[str, str]

    git_commit: _Word
    git_remote: _Word
    git_dirty: str
    data_version: str
    config_digest: str
    lock_digest: str


class _Drift(_Strict):
    package: str
    locked: str | None
    installed: str | None


class _Environment(_Strict):
    implementation: str
    python: _Word
    hash_seed: _Word
    image: _Word
    packages: dict[str, str]
    drift: list[_Drift]
    # The first manifests of schema 1 do not have it.
    from_base: list[str] = []


def _inside(path: str) -> str:
    if path[:1] == "/" or ".." in path.split("/"):
        raise ValueError("a path leads out of the project")
    return path


class _Start(_Strict):
    module: _Word | None
    command: _Word | None
    arguments: list[_Word] | None
    hidden: list[int]
    folder: Annotated[_Word, AfterValidator(_inside)] | None


class _Manifest(_Strict):
    """The fields of a manifest that its readers rely on; a manifest has more, and so has each part of one."""

    tags: _Tags
    params: dict[str, str]
    policy: _Policy
    patch_digest: str | None
    data_files: list[_File]
    environment: _Environment
    seeding: dict[str, Any] | None = None
    overrides: list[str]
    entry_point: _Word | None
    # The first manifests of schema 1 do not have these.
    config_files: list[_Word] = []
    numerics: _Numerics | None = None
    start: _Start | None = None

    # For all files at once: a function that is called for each of them takes longer than all other checks.
    @field_validator("data_files")
    @classmethod
    def _lie_in_the_data(cls, files: list[_File]) -> list[_File]:
        if any("\0" in file.path or file.path[:1] == "/" or ".." in file.path.split("/") for file in files):
            raise ValueError("a path leads out of the data")
        return files


@dataclass(frozen=True)
class Check:
    """One check of a run: whether it holds, and what was found."""

    name: str
    holds: bool
    detail: str


def manifest_in(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the manifest among the evidence *files*; raises ManifestError, with what is wrong as a clause."""
    if MANIFEST not in files:
        raise ManifestError(f"the run has no {MANIFEST}")
    try:
        manifest = json.loads(files[MANIFEST].decode("utf-8", "surrogateescape"))
        canonical(manifest)  # no NaN, which JSON does not have
        schema = manifest["schema"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ManifestError(f"{MANIFEST} is not a manifest") from None
    if schema != MANIFEST_SCHEMA:
        known = f"this version of the machinery reads {MANIFEST_SCHEMA}: update it"
        raise ManifestError(f"{MANIFEST} has the schema {str(schema)[:20]!r}, and {known}")
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise ManifestError(f"{MANIFEST} is not a manifest: {key[:80]}") from None
    return manifest


def size_problem(name: str, size: int) -> str | None:
    """Return, as a clause, why a file of the evidence with *size* bytes is too large; None if it is not."""
    return f"{name} has {size} bytes, and may have {MOST_BYTES[name]}" if size > MOST_BYTES[name] else None


def needed_files(tags: Mapping[str, str]) -> list[str]:
    """Return the names of the files that belong to the evidence of a run with *tags*."""
    return [MANIFEST, CONFIG, LOCK, *([PATCH] if tags.get("git_dirty") == "true" else [])]


def agreement(tags: Mapping[str, str], params: Mapping[str, str], files: Mapping[str, bytes]) -> Iterator[Check]:
    """Check that *tags* and *params* agree with the *files* of the evidence, and the files with their digests."""
    expected = needed_files(tags)
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
    return Check(name, False, f"recorded {recorded or 'nothing'}, computed {computed}")


def _equal(name: str, recorded: Mapping[str, Any], expected: Mapping[str, Any]) -> Check:
    """Check that everything expected was recorded; a run may log more."""
    differing = sorted(key for key in expected if recorded.get(key) != expected[key])
    shown = listed((f"{key}: {recorded.get(key)!r} instead of {expected[key]!r}" for key in differing), limit=500)
    return Check(name, not differing, shown or f"{len(expected)} equal")
