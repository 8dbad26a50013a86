"""A verified run: what the record of a run proves about its start, each part checked against its digest."""

import json
from collections.abc import Mapping
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

    @property
    def numerics(self) -> Mapping[str, Any] | None:
        """The processors and the variables that its numbers depend on; None also for a run from before them."""
        return self.manifest.get("numerics") if self.manifest else None

    @property
    def uses_all_cores(self) -> bool:
        """Whether the process of the run could use every processor of its machine, as far as is recorded."""
        return self.numerics is not None and self.numerics["processors"] == self.environment.get("cores")
