"""A testimony: what of a recorded run can be relied on, and what of its record was altered afterwards."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..config.loader import config_digest
from ..config.yaml import decoded, parse_yaml
from ..digest import canonical, digest
from ..errors import Refused
from ..evidence import CONFIG, MANIFEST, PATCH, ManifestError, agreement
from ..lockfile import LOCK, pins
from ..tags import MLFLOW_TAGS
from ..tracking.recorded import (
    RecordedRun,
)

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class VerifiedRun:
    """A run as it was when it started, as far as digests vouch for it; a part that is None cannot be told."""

    recorded: RecordedRun

    @cached_property
    def altered(self) -> tuple[str, ...]:
        """What is no longer as it was recorded, one clause each; nothing can be told of a run without evidence."""
        if not self.recorded.evidence:
            return ()
        run = self.recorded
        failing = [check for check in agreement(run.run.data.tags, run.params, run.evidence) if not check.holds]
        if self._is_of_another_version:
            failing = [check for check in failing if check.name != "manifest"]
        return tuple(f"{check.name}: {check.evidence}" for check in failing)

    @property
    def _is_of_another_version(self) -> bool:
        """Whether the manifest is what the run recorded, but written in a way that this version does not know."""
        try:
            manifest = json.loads(self.recorded.evidence[MANIFEST].decode("utf-8", "surrogateescape"))
            return self.manifest is None and self._carries(digest(canonical(manifest)))
        except (KeyError, ValueError, TypeError):
            return False

    def _carries(self, manifest_digest: str) -> bool:
        return self.recorded.run.data.tags.get("manifest_digest") == manifest_digest

    @cached_property
    def manifest(self) -> Mapping[str, Any] | None:
        """The manifest, if it is the one whose digest the run carries."""
        try:
            return self.recorded.manifest if self._carries(self.recorded.manifest_digest) else None
        except ManifestError:
            return None

    @cached_property
    def without_manifest(self) -> str:
        """Why there is no manifest to rely on, as a clause."""
        try:
            self.recorded.manifest_digest  # noqa: B018 (asked for what it raises)
        except ManifestError as problem:
            return str(problem) if self.recorded.evidence else "it has no evidence"
        return "its manifest was altered"

    @cached_property
    def tags(self) -> Mapping[str, str]:
        """The tags as they were when the run started; those of a run without a manifest as they are."""
        tags = self.recorded.run.data.tags
        mlflows = {ours: tags[theirs] for theirs, ours in MLFLOW_TAGS.items() if theirs in tags}
        return mlflows | tags | (self.manifest["tags"] if self.manifest else {})

    @cached_property
    def params(self) -> Mapping[str, str]:
        """The params that the run started with; those of a run without a manifest are all that it has."""
        return self.manifest["params"] if self.manifest else self.recorded.params

    @property
    def is_part(self) -> bool:
        """Whether the run is inside another one, whose evidence it shares; then its params tell it from the others."""
        return self.recorded.params is not self.recorded.run.data.params

    @property
    def own_params(self) -> Mapping[str, str]:
        """The params that the run logged itself, beside those it started with."""
        return {key: value for key, value in self.recorded.run.data.params.items() if key not in self.params}

    @cached_property
    def config(self) -> Mapping[str, str] | None:
        """The resolved config: {dotted key: value as JSON, so that 1, 1.0 and "1" are three values}."""
        try:
            values, _ = parse_yaml(decoded(self.recorded.evidence[CONFIG], CONFIG), CONFIG)
        except (KeyError, Refused):
            return None
        return leaves(values) if config_digest(values) == self.tags.get("config_digest") else None

    @cached_property
    def lock(self) -> bytes | None:
        """The lock that was captured."""
        content = self.recorded.evidence.get(LOCK)
        return content if content is not None and digest(content) == self.tags.get("lock_digest") else None

    @cached_property
    def patch(self) -> bytes | None:
        """What was not committed; b"" for a clean work tree."""
        if self.tags.get("git_dirty") == "false":
            return b""
        content = self.recorded.evidence.get(PATCH)
        expected = self.manifest.get("patch_digest") if self.manifest else None
        return content if content is not None and digest(content) == expected else None

    @property
    def environment(self) -> Mapping[str, Any] | None:
        """The interpreter, the machine and the packages."""
        return self.manifest.get("environment") if self.manifest else None


def leaves(values: Mapping[str, Any]) -> dict[str, str]:
    """Return every leaf under its dotted name, as JSON; a list is a leaf, and so is an empty mapping."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{name}.{inner}": text for inner, text in leaves(value).items()}
        else:
            found[name] = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return found


# What two machines may differ in, and a verdict names where they do. A run is made again on another of the first two
# only by force.
INTERPRETER = ("implementation", "python")
_UNDER_THE_CODE = (*INTERPRETER, "platform", "machine", "cpu", "cores", "gpus", "hash_seed", "image")


@dataclass(frozen=True)
class Condition:
    """One thing under the code that was not the same for both runs: the interpreter, the CPU, a package."""

    name: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.name}: {self.first} and {self.second}"


def conditions(original: RecordedRun, second: RecordedRun) -> Iterator[Condition]:
    """Yield what was not the same for both; of the packages only those count that the lock names.

    Raises ManifestError or Refused where the evidence of one cannot be read.
    """
    first, other = original.manifest, second.manifest
    for name in _UNDER_THE_CODE:
        if first["environment"][name] != other["environment"][name]:
            yield Condition(name, *(_in_words(manifest["environment"][name]) for manifest in (first, other)))
    versions = (first["environment"]["packages"], other["environment"]["packages"])
    for name in pins(LOCK, original.evidence[LOCK]):
        if versions[0].get(name) != versions[1].get(name):
            yield Condition(f"package {name}", *(each.get(name, "not installed") for each in versions))
    paths = [str(recorded.values["data"]["path"]) for recorded in (original, second)]
    if paths[0] != paths[1]:
        yield Condition("data.path", *paths)
    if first["patch_digest"] != other["patch_digest"]:
        yield Condition("patch", *(str(manifest["patch_digest"]) for manifest in (first, other)))


def _in_words(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


# From what explains most. An altered record comes first: whoever altered it, nothing else in it is beyond doubt.
KINDS = ("altered record", "code", "config", "params", "data", "packages", "interpreter", "machine", "image", "seed")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*==\s*([^\s;\\]+)", re.MULTILINE)
_MACHINE = ("platform", "machine", "cpu", "cores", "gpus")
# Where an experiment is filed changes nothing of what it computes; the seed has a kind of its own.
_NO_CAUSE = {"experiment_name", "seed"}


@dataclass(frozen=True)
class Cause:
    """What differs: its kind, what it is in there, and each side's own in words; None where there is none."""

    kind: str
    key: str
    a: str | None
    b: str | None


@dataclass(frozen=True)
class NotComparable:
    """What cannot be compared: the kind of cause that may hide there, and why, as a clause."""

    kind: str
    why: str


_Found = Cause | NotComparable


def ranked(causes: Iterable[Cause]) -> tuple[Cause, ...]:
    """Return *causes* in order of weight; those of one kind stay as they are."""
    return tuple(sorted(causes, key=lambda cause: KINDS.index(cause.kind)))


def input_differences(a: VerifiedRun, b: VerifiedRun) -> Iterator[_Found]:
    """Yield what differs between two runs and what cannot be compared, except for what is in their code."""
    for side, testimony in (("A", a), ("B", b)):
        for clause in testimony.altered:
            what, _, seen = clause.partition(": ")
            yield Cause("altered record", what, seen if side == "A" else None, seen if side == "B" else None)
    if a.is_part or b.is_part:
        yield from _unequal("params", a.own_params, b.own_params, sorted(a.own_params.keys() | b.own_params.keys()))
    yield from _config(a, b)
    yield from _data(a, b)
    yield from _packages(a, b)
    yield from _surroundings(a, b)


def _unequal(kind: str, a: Mapping[str, Any], b: Mapping[str, Any], keys: Iterable[str]) -> Iterator[Cause]:
    for key in keys:
        if a.get(key) != b.get(key):
            yield Cause(kind, key, _text(a.get(key)), _text(b.get(key)))


def _text(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return None if value is None else str(value)


def _config(a: VerifiedRun, b: VerifiedRun) -> Iterator[_Found]:
    if a.config is not None and b.config is not None:
        keys = sorted((a.config.keys() | b.config.keys()) - _NO_CAUSE)
        yield from _unequal("config", a.config, b.config, keys)
        return
    if (digest := a.tags.get("config_digest")) and digest == b.tags.get("config_digest"):
        return
    old, new = (testimony.recorded.run.data.params for testimony in (a, b))
    yield from _unequal("params", old, new, sorted((old.keys() | new.keys()) - _NO_CAUSE - {"data_version"}))


def _data(a: VerifiedRun, b: VerifiedRun) -> Iterator[_Found]:
    before, after = (testimony.tags.get("data_version") for testimony in (a, b))
    if before == after:
        if before is None:
            yield NotComparable("data", "neither run has recorded which data it read")
        return
    files = [testimony.manifest.get("data_files") if testimony.manifest else None for testimony in (a, b)]
    if None in files:
        yield Cause("data", "data_version", before, after)
        return
    old, new = ({file["path"]: file for file in part} for part in files)
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path):
            yield Cause("data", path, _file(old.get(path)), _file(new.get(path)))


def _file(file: Mapping[str, Any] | None) -> str | None:
    return file and f"{file['size']:,} bytes, {file['digest'][:10]}"


def _packages(a: VerifiedRun, b: VerifiedRun) -> Iterator[_Found]:
    locks = [testimony.tags.get("lock_digest") for testimony in (a, b)]
    pinned = [{name for name, _ in _pins(testimony.lock)} for testimony in (a, b)]
    described = [testimony.environment for testimony in (a, b)]
    if None not in described:
        # What was installed, of the packages that a lock names or that drifted from it. The tools of an environment
        # for development are in no run's lock, and a pin for another platform was not installed.
        drifts = [{each["package"]: _drifted(each) for each in part["drift"]} for part in described]
        old, new = (part["packages"] | drift for part, drift in zip(described, drifts, strict=True))
        known = pinned[0] | pinned[1] if any(pinned) else old.keys() | new.keys()
        yield from _unequal("packages", old, new, sorted(known | drifts[0].keys() | drifts[1].keys()))
    elif None in locks:
        if locks != [None, None]:
            yield Cause("packages", "lock_digest", *locks)
        else:
            yield NotComparable("packages", "neither run has recorded its packages")
    elif locks[0] != locks[1]:
        if all(pinned):
            old, new = (dict(sorted(_pins(testimony.lock))) for testimony in (a, b))
            yield from _unequal("packages", old, new, sorted(old.keys() | new.keys()))
        else:
            yield Cause("packages", "lock_digest", *locks)


def _drifted(drift: Mapping[str, str | None]) -> str | None:
    installed, locked = drift["installed"], drift["locked"]
    return f"{installed or 'not installed'} (the lock says {locked})" if locked else installed


def _pins(lock: bytes | None) -> set[tuple[str, str]]:
    found = _PIN.findall((lock or b"").decode("utf-8", "replace"))
    return {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in found}


def _surroundings(a: VerifiedRun, b: VerifiedRun) -> Iterator[_Found]:
    old, new = a.environment, b.environment
    if old is None or new is None:
        for side, testimony in (("A", a), ("B", b)):
            if testimony.environment is None:
                why = f"{side}: {testimony.without_manifest}, so its interpreter and its machine are not known"
                yield NotComparable("machine", why)
    else:
        yield from _unequal("interpreter", old, new, ("implementation", "python"))
        yield from _unequal("machine", old, new, _MACHINE)
        yield from _unequal("seed", old, new, ("hash_seed",))
        yield from _unequal("seed", *(side.manifest.get("seeding") or {} for side in (a, b)), ("libraries",))
    yield from _unequal("image", a.tags, b.tags, ("image",))
    yield from _unequal("seed", a.params, b.params, ("seed",))


def commit_of(testimony: VerifiedRun) -> str | None:
    """Return the commit that a run says it comes from; None where it says none, or something else."""
    commit = testimony.tags.get("git_commit", "")
    return commit if _COMMIT.fullmatch(commit) else None
