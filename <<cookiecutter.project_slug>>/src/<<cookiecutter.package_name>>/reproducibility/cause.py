"""A cause: one thing that was not the same when two runs started, or that nobody can tell; in order of weight."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .testimony import Testimony

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
class Untold:
    """What cannot be compared: the kind of cause that may hide there, and why, as a clause."""

    kind: str
    why: str


Finding = Cause | Untold


def ranked(causes: Iterable[Cause]) -> tuple[Cause, ...]:
    """Return *causes* in order of weight; those of one kind stay as they are."""
    return tuple(sorted(causes, key=lambda cause: KINDS.index(cause.kind)))


def findings(a: Testimony, b: Testimony) -> Iterator[Finding]:
    """Yield what differs between two runs and what cannot be compared, except for what is in their code."""
    for side, testimony in (("A", a), ("B", b)):
        for clause in testimony.altered:
            what, _, seen = clause.partition(": ")
            yield Cause("altered record", what, seen if side == "A" else None, seen if side == "B" else None)
    if a.is_part or b.is_part:
        yield from _compared("params", a.own_params, b.own_params, sorted(a.own_params.keys() | b.own_params.keys()))
    yield from _config(a, b)
    yield from _data(a, b)
    yield from _packages(a, b)
    yield from _surroundings(a, b)


def _compared(kind: str, a: Mapping[str, Any], b: Mapping[str, Any], keys: Iterable[str]) -> Iterator[Cause]:
    for key in keys:
        if a.get(key) != b.get(key):
            yield Cause(kind, key, _text(a.get(key)), _text(b.get(key)))


def _text(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return None if value is None else str(value)


def _config(a: Testimony, b: Testimony) -> Iterator[Finding]:
    if a.config is not None and b.config is not None:
        keys = sorted((a.config.keys() | b.config.keys()) - _NO_CAUSE)
        yield from _compared("config", a.config, b.config, keys)
        return
    if (digest := a.tags.get("config_digest")) and digest == b.tags.get("config_digest"):
        return
    old, new = (testimony.recorded.run.data.params for testimony in (a, b))
    yield from _compared("params", old, new, sorted((old.keys() | new.keys()) - _NO_CAUSE - {"data_version"}))


def _data(a: Testimony, b: Testimony) -> Iterator[Finding]:
    before, after = (testimony.tags.get("data_version") for testimony in (a, b))
    if before == after:
        if before is None:
            yield Untold("data", "neither run has recorded which data it read")
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


def _packages(a: Testimony, b: Testimony) -> Iterator[Finding]:
    locks = [testimony.tags.get("lock_digest") for testimony in (a, b)]
    pinned = [{name for name, _ in _pins(testimony.lock)} for testimony in (a, b)]
    described = [testimony.environment for testimony in (a, b)]
    if None not in described:
        # What was installed, of the packages that a lock names or that drifted from it. The tools of an environment
        # for development are in no run's lock, and a pin for another platform was not installed.
        drifts = [{each["package"]: _drifted(each) for each in part["drift"]} for part in described]
        old, new = (part["packages"] | drift for part, drift in zip(described, drifts, strict=True))
        known = pinned[0] | pinned[1] if any(pinned) else old.keys() | new.keys()
        yield from _compared("packages", old, new, sorted(known | drifts[0].keys() | drifts[1].keys()))
    elif None in locks:
        if locks != [None, None]:
            yield Cause("packages", "lock_digest", *locks)
        else:
            yield Untold("packages", "neither run has recorded its packages")
    elif locks[0] != locks[1]:
        if all(pinned):
            old, new = (dict(sorted(_pins(testimony.lock))) for testimony in (a, b))
            yield from _compared("packages", old, new, sorted(old.keys() | new.keys()))
        else:
            yield Cause("packages", "lock_digest", *locks)


def _drifted(drift: Mapping[str, str | None]) -> str | None:
    installed, locked = drift["installed"], drift["locked"]
    return f"{installed or 'not installed'} (the lock says {locked})" if locked else installed


def _pins(lock: bytes | None) -> set[tuple[str, str]]:
    found = _PIN.findall((lock or b"").decode("utf-8", "replace"))
    return {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in found}


def _surroundings(a: Testimony, b: Testimony) -> Iterator[Finding]:
    old, new = a.environment, b.environment
    if old is None or new is None:
        for side, testimony in (("A", a), ("B", b)):
            if testimony.environment is None:
                why = f"{side}: {testimony.without_manifest}, so its interpreter and its machine are not known"
                yield Untold("machine", why)
    else:
        yield from _compared("interpreter", old, new, ("implementation", "python"))
        yield from _compared("machine", old, new, _MACHINE)
        yield from _compared("seed", old, new, ("hash_seed",))
        yield from _compared("seed", *(side.manifest.get("seeding") or {} for side in (a, b)), ("libraries",))
    yield from _compared("image", a.tags, b.tags, ("image",))
    yield from _compared("seed", a.params, b.params, ("seed",))


def commit_of(testimony: Testimony) -> str | None:
    """Return the commit that a run says it comes from; None where it says none, or something else."""
    commit = testimony.tags.get("git_commit", "")
    return commit if _COMMIT.fullmatch(commit) else None
