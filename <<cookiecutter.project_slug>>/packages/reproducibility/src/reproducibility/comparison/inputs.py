"""The inputs of two runs: in what they differ, and what of them cannot be compared."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..tracking.recorded import RecordedRun
from .verified import VerifiedRun

# In the order of a report: what most likely explains the results comes first. If a record was altered, nothing else in
# it is certain, so that comes before all.
KINDS = (
    *("altered record", "code", "config", "params", "data", "packages"),
    *("interpreter", "numerics", "machine", "image", "seed"),
)
_MACHINE = ("platform", "machine", "cpu", "cores", "gpus")
# Keys of the config that are no difference in it: the experiment's name changes no result, the seed has its own kind.
_NOT_CONFIG = {"experiment_name", "seed"}


@dataclass(frozen=True)
class InputDifference:
    """One thing that differs between what two runs were made from.

    kind: one of `KINDS`; of what changes no result also ``label``. name: what differs, such as ``model.depth``.
    a, b: the value of each run in words; None where the run has none.
    """

    kind: str
    name: str
    a: str | None
    b: str | None

    def __str__(self) -> str:
        a, b = ("none" if value is None else value for value in (self.a, self.b))
        return f"{self.name}: {a} and {b}"


@dataclass(frozen=True)
class UnknownInput:
    """What cannot be compared: the kind of input difference that may be there, and why, as a clause."""

    kind: str
    why: str


Found = InputDifference | UnknownInput


def compare_inputs(a: RecordedRun, b: RecordedRun) -> tuple[InputDifference, ...]:
    """Return in what the recorded inputs of two runs differ; of their code, only commit and patch are compared."""
    runs = (VerifiedRun(a), VerifiedRun(b))
    found = [*differing("code", *({"git_commit": run.tags.get("git_commit")} for run in runs))]
    if None not in (patches := [run.patch_digest for run in runs]):
        found += differing("code", *({"patch": patch or None} for patch in patches))
    return ranked([*found, *beside_code(*runs)])


def ranked(found: Iterable[Found]) -> tuple[InputDifference, ...]:
    """Return the differences among *found*, in the order of their kinds."""
    differences = (each for each in found if isinstance(each, InputDifference))
    return tuple(sorted(differences, key=lambda difference: KINDS.index(difference.kind)))


def differing(
    kind: str, a: Mapping[str, Any], b: Mapping[str, Any], names: Iterable[str] | None = None
) -> Iterator[InputDifference]:
    """Yield a difference for each of *names*, by default all, whose value is not the same in *a* and *b*."""
    for name in sorted(a.keys() | b.keys()) if names is None else names:
        if a.get(name) != b.get(name):
            yield InputDifference(kind, name, _in_words(a.get(name)), _in_words(b.get(name)))


def _in_words(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return None if value is None else str(value)


def beside_code(a: VerifiedRun, b: VerifiedRun) -> Iterator[Found]:
    """Yield in what the inputs of two runs differ, and what cannot be compared; all but their code."""
    for side, run in (("A", a), ("B", b)):
        for clause in run.altered:
            what, _, seen = clause.partition(": ")
            yield InputDifference("altered record", what, *((seen, None) if side == "A" else (None, seen)))
    if a.shares_evidence or b.shares_evidence:
        yield from differing("params", a.own_params, b.own_params)
    yield from _config(a, b)
    yield from _data(a, b)
    yield from _packages(a, b)
    yield from _numerics(a, b)
    yield from _surroundings(a, b)


def _arguments(run: VerifiedRun) -> str | None:
    """Return the arguments of the run's script as one line; None if its config stands for them."""
    start = (run.manifest or {}).get("start") or {}
    return shlex.join(start["arguments"]) if start.get("arguments") else None


def _config(a: VerifiedRun, b: VerifiedRun) -> Iterator[Found]:
    yield from differing("config", *({"arguments of the script": _arguments(run)} for run in (a, b)))
    if a.config is not None and b.config is not None:
        yield from differing("config", a.config, b.config, sorted((a.config.keys() | b.config.keys()) - _NOT_CONFIG))
        return
    if (digest := a.tags.get("config_digest")) and digest == b.tags.get("config_digest"):
        return
    old, new = (run.recorded.run.data.params for run in (a, b))
    yield from differing("params", old, new, sorted((old.keys() | new.keys()) - _NOT_CONFIG - {"data_version"}))


def _data(a: VerifiedRun, b: VerifiedRun) -> Iterator[Found]:
    versions = [run.tags.get("data_version") for run in (a, b)]
    if versions[0] == versions[1]:
        if versions[0] is None:
            yield UnknownInput("data", "neither run has recorded which data it read")
        return
    files = [run.manifest.get("data_files") if run.manifest else None for run in (a, b)]
    if None in files:
        yield InputDifference("data", "data_version", *versions)
    else:
        yield from differing("data", *({file["path"]: _describe(file) for file in side} for side in files))


def _describe(file: Mapping[str, Any]) -> str:
    return f"{file['size']:,} bytes, {file['digest'][:10]}"


def _packages(a: VerifiedRun, b: VerifiedRun) -> Iterator[Found]:
    environments = (a.environment, b.environment)
    locks = [run.tags.get("lock_digest") for run in (a, b)]
    if None not in environments:
        # What was installed, of the packages that a lock names, that were not as locked, or that an image's base has.
        # The tools of a development environment are in no run's lock. A pin for another platform was not installed.
        drifts = [{each["package"]: _drifted(each) for each in environment["drift"]} for environment in environments]
        old, new = (each["packages"] | drift for each, drift in zip(environments, drifts, strict=True))
        known = a.pinned.keys() | b.pinned.keys() or old.keys() | new.keys()
        known |= {name for environment in environments for name in environment.get("from_base", ())}
        yield from differing("packages", old, new, sorted(known | drifts[0].keys() | drifts[1].keys()))
    elif locks == [None, None]:
        yield UnknownInput("packages", "neither run has recorded its packages")
    elif locks[0] != locks[1]:
        if a.pinned and b.pinned:
            yield from differing("packages", a.pinned, b.pinned)
        else:
            yield InputDifference("packages", "lock_digest", *locks)


def _drifted(drift: Mapping[str, str | None]) -> str | None:
    installed, locked = drift["installed"], drift["locked"]
    return f"{installed or 'not installed'} (the lock says {locked})" if locked else installed


def _numerics(a: VerifiedRun, b: VerifiedRun) -> Iterator[Found]:
    if a.manifest is None or b.manifest is None:  # which `_surroundings` reports
        return
    old, new = a.numerics, b.numerics
    if old is None or new is None:
        lacking = "neither run has" if old is new else f"{'A' if old is None else 'B'} has not"
        yield UnknownInput("numerics", f"{lacking} recorded its processors and the variables that steer its numbers")
        return
    if None not in (old["processors"], new["processors"]):
        yield from differing("numerics", old, new, ("processors",))
    yield from differing("numerics", old, new, ("cpu_quota",))
    yield from differing("numerics", old["variables"], new["variables"])
    settings = [side["torch"] for side in (old, new)]
    if None not in settings:  # else a run loaded torch only after its start
        yield from differing("numerics", *({f"torch.{name}": side[name] for name in side} for side in settings))


def _surroundings(a: VerifiedRun, b: VerifiedRun) -> Iterator[Found]:
    old, new = a.environment, b.environment
    if old is None or new is None:
        for side, run in (("A", a), ("B", b)):
            if run.environment is None:
                why = f"{side}: {run.why_no_manifest}, so its interpreter and its machine are unknown"
                yield UnknownInput("machine", why)
    else:
        yield from differing("interpreter", old, new, ("implementation", "python"))
        # If both could use every core, `processors` among the numerics says the same.
        known = {"cores"} if a.uses_all_cores and b.uses_all_cores else set()
        yield from differing("machine", old, new, [name for name in _MACHINE if name not in known])
        yield from differing("seed", old, new, ("hash_seed",))
        yield from differing("seed", *(run.manifest.get("seeding") or {} for run in (a, b)), ("libraries",))
    yield from differing("image", a.tags, b.tags, ("image",))
    yield from differing("seed", a.params, b.params, ("seed",))
