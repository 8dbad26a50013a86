"""The policy: what a run must carry. One pure function checks this for the client, for CI and for the server."""

import math
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field

from .config.values import Section
from .errors import Violation
from .tags import COMMIT_ID

_BLAKE3 = re.compile(r"blake3:[0-9a-f]{64}")
# The form of required tags and params, and the form in words. One that is not listed here may have any text.
_FORMATS: dict[str, tuple[re.Pattern[str], str]] = {
    "git_commit": (COMMIT_ID, "a full commit id of 40 hexadecimal digits"),
    "git_dirty": (re.compile(r"true|false"), "`true` or `false`"),
    "data_version": (_BLAKE3, "`blake3:` and 64 hexadecimal digits"),
    "config_digest": (_BLAKE3, "`blake3:` and 64 hexadecimal digits"),
    "lock_digest": (_BLAKE3, "`blake3:` and 64 hexadecimal digits"),
    "manifest_digest": (_BLAKE3, "`blake3:` and 64 hexadecimal digits"),
    "seed": (re.compile(r"\d+"), "a whole number"),
}


class Tolerance(Section):
    """How far the results of a reproduction may be from those of the run.

    not_compared: patterns of the names of metrics, models and files that depend on the machine or the day, such as
    durations.
    """

    rtol: float = Field(ge=0)
    atol: float = Field(ge=0)
    not_compared: tuple[str, ...]

    def compares(self, name: str) -> bool:
        """Tell whether a metric, model or file called *name* is compared at all."""
        return not any(fnmatchcase(name, pattern) for pattern in self.not_compared)

    def match(self, a: float, b: float) -> bool:
        """Tell whether two values of a metric match: NaN matches NaN, and a number a number that is near enough.

        They differ by at most *atol*, or by at most *rtol* times the larger of the two.
        """
        return math.isclose(a, b, rel_tol=self.rtol, abs_tol=self.atol) or (math.isnan(a) and math.isnan(b))


EXACT = Tolerance(rtol=0, atol=0, not_compared=())


# A module, which stands for everything in it, or one type: `sklearn`, `numpy.dtype`. `sklearn.*` would match nothing.
_Dotted = Annotated[str, Field(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*$")]


# What MLflow's server can do beyond tracking: gate/features.py says what each of these is.
Feature = Literal["assistant", "demo", "gateway", "jobs", "mcp", "telemetry", "webhooks"]


class Policy(Section):
    """The team's rules, the section ``policy`` of configs/base.yaml."""

    required_tags: tuple[str, ...] = Field(min_length=1)
    required_params: tuple[str, ...]
    enforce: Literal["record", "refuse"] = "refuse"
    uncommitted_changes: Literal["snapshot", "refuse"]
    uncommitted_config: Literal["snapshot", "refuse"]
    environment_drift: Literal["record", "refuse"]
    base_image_packages: Literal["record", "refuse"]
    # Keys with a default are younger than the others: configs and recorded runs of older versions lack them.
    data_not_versioned: tuple[str, ...] = ()
    offline_runs: Literal["record", "refuse"] = "record"
    tolerance: Tolerance
    protected_aliases: tuple[str, ...]
    trusted_model_types: tuple[_Dotted, ...]
    server_features: tuple[Feature, ...] = ()
    provers: tuple[str, ...] = ()


def violations(tags: Mapping[str, str], params: Mapping[str, str], policy: Policy) -> tuple[Violation, ...]:
    """Return what in *tags* and *params* breaks *policy*, in the policy's order; nothing when the run complies."""
    found = [_missing_or_malformed("tag", key, tags.get(key)) for key in policy.required_tags]
    found += [_missing_or_malformed("param", key, params.get(key)) for key in policy.required_params]
    if policy.uncommitted_changes == "refuse" and tags.get("git_dirty") == "true":
        found.append(
            Violation(
                "uncommitted_changes",
                "the work tree differs from the commit and the policy says `uncommitted_changes: refuse`",
                "commit or stash the changes (git status lists them)",
            )
        )
    for key in sorted(tags.keys() & params.keys() & set(policy.required_tags) & set(policy.required_params)):
        if tags[key] != params[key] and tags[key].strip() and params[key].strip():
            found.append(Violation(key, "the tag and the param of this name differ", "log the same value as both"))
    return tuple(violation for violation in found if violation is not None)


def _missing_or_malformed(kind: str, key: str, value: str | None) -> Violation | None:
    if value is None or not value.strip():
        state = "missing" if value is None else "empty"
        own = f"tracked_run(config, tags={{{key!r}: ...}})" if kind == "tag" else f"a config with {key} in it"
        fix = f"start the run with `tracked_run`, which sets the standard ones; the team's own come from {own}"
        return Violation(key, f"the required {kind} is {state}", fix)
    if key in _FORMATS and not _FORMATS[key][0].fullmatch(value):
        return Violation(key, f"the {kind} is {value[:80]!r}, not {_FORMATS[key][1]}", "leave it to `tracked_run`")
    return None
