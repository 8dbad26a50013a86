"""A testimony: what of a recorded run can be relied on, and what of its record was altered afterwards."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .config_file import config_digest
from .digest import canonical, digest
from .environment import LOCK
from .evidence import CONFIG, MANIFEST, PATCH, ManifestError, agreement
from .provenance import MLFLOW_TAGS
from .recorded_run import RecordedRun
from .strict_yaml import decoded, parse
from .violation import Refused


@dataclass(frozen=True)
class Testimony:
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
            values, _ = parse(decoded(self.recorded.evidence[CONFIG], CONFIG), CONFIG)
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
