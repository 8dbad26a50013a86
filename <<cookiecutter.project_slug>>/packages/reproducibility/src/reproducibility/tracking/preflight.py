"""Preflight: what keeps a run from starting, every violation at once, before anything is created or computed."""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

import click

from ..config.loader import Config
from ..config.yaml import parse_yaml, to_yaml
from ..digest import canonical
from ..display import listed, require_working_directory
from ..errors import Refused, Violation, refuse
from ..evidence import CONFIG, MANIFEST, PATCH, size_problem
from ..lockfile import LOCK
from ..policy import Policy, violations
from ..project import PROJECT_ROOT
from ..provenance.code import foreign_code, imported_files, is_committed
from ..provenance.expected import unexpected
from ..provenance.gather import Provenance, gather
from ..secrets import secrets_in
from ..tags import MLFLOW_TAGS, PROVENANCE_TAGS, REPRODUCES
from .context import run_context
from .ramp import only_records, warn

# MLflow cuts a longer value without a warning.
_LONGEST = {"tag": 8000, "param": 6000}
_LONGEST_KEY = 250
# More unlocked packages than these share a line: one tool for notebooks brings dozens.
_MOST_DRIFTS = 3
_KEY = re.compile(r"[\w.\-/ :]+")
# The policy of the run that looked last at the imported code, and the files that it found to be in its record.
_looked_at: tuple[Policy, frozenset[str]] | None = None


def preflight(
    config: Config | Mapping[str, Any], tags: Mapping[str, str], *, begun: bool = False
) -> tuple[Provenance, list[Violation]]:
    """Return the provenance of a run of *config* with the extra *tags*, and the violations that the run goes on with.

    begun: the run was created before and is in an experiment already, so that the config need not name one.

    Raises Refused with every violation. If the policy only records violations, it raises Refused only for what MLflow
    could not record and for secrets.
    """
    require_working_directory()
    if not isinstance(config, Config | Mapping):
        fix = "load it: `load(Path('configs/experiment.yaml'), ExperimentConfig)`"
        refuse("config", f"it is of type {type(config).__name__}, not a config", fix)
    provenance = gather(config)
    unfit = [*_set_by_hand(tags), *([] if begun else _without_experiment(provenance))]
    found = [
        *provenance.refusals,
        *(unrecorded_code(provenance.policy) if provenance.git else []),
        *_uncommitted_config(provenance, config),
        *_environment_drift(provenance),
        *_base_image_packages(provenance),
        *unexpected(provenance),
    ]
    if problem := _unrecordable(provenance.values):
        raise Refused([*found, *unfit, problem])
    found += _oversized(provenance)
    text = {key: str(value) for key, value in tags.items()}
    unfit += [
        Violation(key, f"the tag is {value!r}, not text", f"write it as {text[key]!r}")
        for key, value in tags.items()
        if not isinstance(value, str)
    ]
    all_tags = text | provenance.tags
    unfit += [*_unfit("tag", all_tags), *_unfit("param", provenance.params)]
    required = violations(all_tags, provenance.params, provenance.policy)
    found += [violation for violation in required if violation.key not in provenance.unknown]
    if unfit or (found and not only_records(provenance.policy)):
        raise Refused([*found, *unfit])
    warn(found)
    if provenance.entry_point is None:
        click.echo(
            "Warning: this run was started from no file of the project, so its code is in no commit, and "
            "`repro validate` will fail. To record a run that passes, put the code into a script in scripts/.",
            err=True,
        )
    return provenance, found


def unrecorded_code(policy: Policy) -> list[Violation]:
    """Return a violation for the code that was imported so far and is neither in the run's record nor in the lock.

    Each run reads its own *policy*. So a second call with the same object is the one at the end of that run. It looks
    only at what was imported since the first call: the rest is in the record already.
    """
    global _looked_at
    files = imported_files()
    before = _looked_at[1] if _looked_at and _looked_at[0] is policy else frozenset()
    found = list(foreign_code(PROJECT_ROOT, files - before, outside=policy.environment_drift == "refuse"))
    if not found:
        _looked_at = policy, files
    return found


def _set_by_hand(tags: Mapping[str, str]) -> Iterator[Violation]:
    for key in sorted(tags.keys() & (PROVENANCE_TAGS | MLFLOW_TAGS.keys())):
        problem = f"this tag is gathered, it cannot be set to {tags[key]!r} by hand"
        yield Violation(key, problem, f"leave {key} out of `tags`")


def _without_experiment(provenance: Provenance) -> Iterator[Violation]:
    name = provenance.values.get("experiment_name")
    if not isinstance(name, str) or not name.strip():
        fix = "add experiment_name to configs/base.yaml"
        yield Violation("experiment_name", "the config does not name the experiment", fix)
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        problem = f"it says to go on with run {run_id[:40]}, but provenance belongs to one start of one run"
        yield Violation("MLFLOW_RUN_ID", problem, "unset it")


def _uncommitted_config(provenance: Provenance, config: Config | Mapping[str, Any]) -> Iterator[Violation]:
    # A reproduction has the config of the original run, which comes from that run's evidence and not from a commit. Its
    # tag names the original run, and `repro validate` compares the two.
    if provenance.policy.uncommitted_config != "refuse" or REPRODUCES in run_context():
        return
    if not isinstance(config, Config):
        yield Violation("uncommitted_config", "the config did not come from a file", "load it from one with `load`")
        return
    for file in config.source.files:
        if not is_committed(PROJECT_ROOT, file):
            name = file.relative_to(PROJECT_ROOT).as_posix() if file.is_relative_to(PROJECT_ROOT) else str(file)
            problem = f"{name} differs from the commit and the policy says `uncommitted_config: refuse`"
            yield Violation("uncommitted_config", problem, f"git add {name}, then git commit; or try values with --set")


def _environment_drift(provenance: Provenance) -> Iterator[Violation]:
    if provenance.policy.environment_drift == "refuse" and provenance.environment:
        fix = "nox -s dev installs what is locked, nox -s lock locks what you need"
        drifts = provenance.environment.drift
        unlocked = [f"{drift.package} {drift.installed}" for drift in drifts if drift.locked is None]
        is_long = len(unlocked) > _MOST_DRIFTS
        for drift in drifts:
            if drift.locked is not None or not is_long:
                yield Violation("environment_drift", str(drift), fix)
        if is_long:
            problem = f"{len(unlocked)} packages are installed but in no lock: {listed(unlocked)}"
            yield Violation("environment_drift", problem, fix)


def _base_image_packages(provenance: Provenance) -> Iterator[Violation]:
    environment = provenance.environment
    if provenance.policy.base_image_packages == "refuse" and environment and environment.from_base:
        names = listed(f"{name} {environment.packages[name]}" for name in environment.from_base)
        problem = f"the base of this image brings packages that are in no lock: {names}"
        fix = "lock what you need and take a base without them, or set policy.base_image_packages to `record`"
        yield Violation("base_image_packages", problem, fix)


def _oversized(provenance: Provenance) -> Iterator[Violation]:
    fixes = {
        MANIFEST: "let data.path name fewer files, such as archives: the manifest lists each",
        CONFIG: "move what is no setting into a file below data.path",
        LOCK: "lock fewer packages",
        PATCH: "commit the changes",
    }
    for name, content in provenance.evidence.items():
        if problem := size_problem(name, len(content)):
            yield Violation("evidence", problem, fixes[name])


def _unrecordable(values: Mapping[str, Any]) -> Violation | None:
    fix = "use text, finite numbers, true, false, null, lists and dicts of them"
    try:
        canonical(values)
    except (TypeError, ValueError) as error:
        return Violation("config", f"it holds a value that cannot be recorded ({error})", fix)
    if "data_version" in values:
        return Violation("data_version", "a config cannot say which version its data has", "take the key out")
    try:
        read_back, _ = parse_yaml(to_yaml(values), "config")
    except Refused as refused:
        return Violation("config", f"it could not be read back ({refused.violations[0].problem})", fix)
    if read_back != values:
        return Violation("config", "it would not read back as it is", fix)
    return None


def _unfit(kind: str, recorded: Mapping[str, str]) -> Iterator[Violation]:
    """Yield what MLflow would cut or refuse only after the run was created, and what looks like a secret."""
    for key, value in recorded.items():
        if len(key) > _LONGEST_KEY or not _KEY.fullmatch(key) or not _is_one_path(key):
            rule = f"at most {_LONGEST_KEY} letters, digits and _ - . : or space, and single / between them"
            yield Violation(key[:80], f"the name of this {kind} cannot be recorded", f"use {rule}")
        if len(value) > _LONGEST[kind]:
            problem = f"the {kind} has {len(value)} characters, more than the {_LONGEST[kind]} that MLflow keeps"
            yield Violation(key, problem, "shorten it, or put it into a file under data/ and name the file")
        # With its name, as it would be written in code: the name may say that the value is a password.
        text = f'{key} = "{value}" {value}'
        for secret in sorted(set(secrets_in(text.encode("utf-8", "replace")).values())):
            yield Violation(key, f"the {kind} looks like {secret}", "keep it in the environment and read it from there")


def _is_one_path(key: str) -> bool:
    # MLflow names files after params, and ``a//b`` is the same file as ``a/b``.
    return posixpath.normpath(key) == key and key != "." and not key.startswith(("..", "/"))
