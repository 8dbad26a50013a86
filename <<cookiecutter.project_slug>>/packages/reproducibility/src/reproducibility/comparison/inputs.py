"""The inputs of two runs: what the record proves about each run, and in what their inputs differ."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..config.values import config_digest, flatten
from ..digest import canonical, digest
from ..errors import Refused
from ..evidence import MANIFEST, PATCH, ManifestError, agreement
from ..lockfile import LOCK, pins
from ..tags import COMMIT_ID, MLFLOW_TAGS
from ..tracking.recorded import RecordedRun


@dataclass(frozen=True)
class VerifiedRun:
    """A recorded run as it was when it started. Each part is checked against its digest, and None if that fails."""

    recorded: RecordedRun

    @property
    def run_id(self) -> str:
        return self.recorded.run.info.run_id

    @property
    def has_finished(self) -> bool:
        """Whether the run reached its end: it neither failed nor is it still running."""
        return self.recorded.run.info.status == "FINISHED"

    @cached_property
    def altered(self) -> tuple[str, ...]:
        """What was altered after the run was recorded, one clause each; empty for a run without evidence."""
        if not self.recorded.evidence:
            return ()
        run = self.recorded
        failing = [check for check in agreement(run.run.data.tags, run.params, run.evidence) if not check.holds]
        if self._has_unknown_schema:
            failing = [check for check in failing if check.name != "manifest"]
        return tuple(f"{check.name}: {check.detail}" for check in failing)

    @property
    def _has_unknown_schema(self) -> bool:
        """Whether the manifest was not altered, but is written in a way that this version cannot read."""
        try:
            manifest = json.loads(self.recorded.evidence[MANIFEST].decode("utf-8", "surrogateescape"))
            return self.manifest is None and self._has_manifest_digest(digest(canonical(manifest)))
        except (KeyError, ValueError, TypeError):
            return False

    def _has_manifest_digest(self, manifest_digest: str) -> bool:
        return self.recorded.run.data.tags.get("manifest_digest") == manifest_digest

    @cached_property
    def manifest(self) -> Mapping[str, Any] | None:
        """The manifest, if its digest is the one in the run's tag."""
        try:
            return self.recorded.manifest if self._has_manifest_digest(self.recorded.manifest_digest) else None
        except ManifestError:
            return None

    @cached_property
    def why_no_manifest(self) -> str:
        """Why `manifest` is None, as a clause."""
        try:
            self.recorded.manifest_digest  # noqa: B018 (it may raise)
        except ManifestError as problem:
            return str(problem) if self.recorded.evidence else "it has no evidence"
        return "its manifest was altered"

    @cached_property
    def tags(self) -> Mapping[str, str]:
        """The tags at the start of the run; without a manifest, the tags that the run has now."""
        tags = self.recorded.run.data.tags
        mlflows = {ours: tags[theirs] for theirs, ours in MLFLOW_TAGS.items() if theirs in tags}
        return mlflows | tags | (self.manifest["tags"] if self.manifest else {})

    @cached_property
    def params(self) -> Mapping[str, str]:
        """The params at the start of the run; without a manifest, the params that the run has now."""
        return self.manifest["params"] if self.manifest else self.recorded.params

    @property
    def shares_evidence(self) -> bool:
        """Whether the run is nested and has the evidence of its parent. Then only its own params are its own."""
        return self.recorded.params is not self.recorded.run.data.params

    @property
    def own_params(self) -> Mapping[str, str]:
        """The params that the code of the run logged, beside those at the start."""
        return {key: value for key, value in self.recorded.run.data.params.items() if key not in self.params}

    @cached_property
    def config(self) -> Mapping[str, str] | None:
        """The resolved config: {dotted key: value as JSON, so that 1, 1.0 and "1" are three values}."""
        try:
            values = self.recorded.values
        except (KeyError, Refused):
            return None
        return flatten(values, quoted=True) if config_digest(values) == self.tags.get("config_digest") else None

    @cached_property
    def lock(self) -> bytes | None:
        content = self.recorded.evidence.get(LOCK)
        return content if content is not None and digest(content) == self.tags.get("lock_digest") else None

    @cached_property
    def pinned(self) -> Mapping[str, str]:
        """What the lock pins, for every platform; empty if the lock is unknown or is not a valid lock."""
        try:
            return pins(LOCK, self.lock or b"", every_platform=True)
        except Refused:
            return {}

    @property
    def commit(self) -> str | None:
        """The commit of the run; None if its tag is missing or holds something else."""
        commit = self.tags.get("git_commit", "")
        return commit if COMMIT_ID.fullmatch(commit) else None

    @property
    def patch_digest(self) -> str | None:
        """The digest of the uncommitted changes, "" if there were none; None if that is unknown."""
        if self.tags.get("git_dirty") == "false":
            return ""
        return self.manifest.get("patch_digest") if self.manifest else None

    @cached_property
    def patch(self) -> bytes | None:
        """The uncommitted changes; b"" if there were none."""
        if self.patch_digest == "":
            return b""
        content = self.recorded.evidence.get(PATCH)
        return content if content is not None and digest(content) == self.patch_digest else None

    @property
    def environment(self) -> Mapping[str, Any] | None:
        """The interpreter, the machine and the packages."""
        return self.manifest.get("environment") if self.manifest else None


# In the order of a report: what most likely explains the results comes first. If a record was altered, nothing else in
# it is certain, so that comes before all.
KINDS = ("altered record", "code", "config", "params", "data", "packages", "interpreter", "machine", "image", "seed")
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
    yield from _surroundings(a, b)


def _config(a: VerifiedRun, b: VerifiedRun) -> Iterator[Found]:
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
        # What was installed, of the packages that a lock names or that were not as locked. The tools of a development
        # environment are in no run's lock. A pin for another platform was not installed.
        drifts = [{each["package"]: _drifted(each) for each in environment["drift"]} for environment in environments]
        old, new = (each["packages"] | drift for each, drift in zip(environments, drifts, strict=True))
        known = a.pinned.keys() | b.pinned.keys() or old.keys() | new.keys()
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


def _surroundings(a: VerifiedRun, b: VerifiedRun) -> Iterator[Found]:
    old, new = a.environment, b.environment
    if old is None or new is None:
        for side, run in (("A", a), ("B", b)):
            if run.environment is None:
                why = f"{side}: {run.why_no_manifest}, so its interpreter and its machine are unknown"
                yield UnknownInput("machine", why)
    else:
        yield from differing("interpreter", old, new, ("implementation", "python"))
        yield from differing("machine", old, new, _MACHINE)
        yield from differing("seed", old, new, ("hash_seed",))
        yield from differing("seed", *(run.manifest.get("seeding") or {} for run in (a, b)), ("libraries",))
    yield from differing("image", a.tags, b.tags, ("image",))
    yield from differing("seed", a.params, b.params, ("seed",))
