"""Admission: may this run start? Every violation at once, before anything is created or computed."""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

import click

from ..config.loader import Config
from ..config.yaml import parse_yaml, to_yaml
from ..digest import canonical
from ..errors import Refused, Violation
from ..policy import violations
from ..project import PROJECT_ROOT
from ..provenance.code import foreign_code, is_committed
from ..provenance.gather import Provenance, gather
from ..secrets import secrets_in
from ..tags import MLFLOW_TAGS, PROVENANCE_TAGS, REPRODUCES
from .context import run_context

# MLflow cuts what is longer without a word, and a value that was cut is a wrong one.
LONGEST = {"tag": 8000, "param": 6000}
_LONGEST_KEY = 250
_KEY = re.compile(r"[\w.\-/ :]+")


def preflight(config: Config | Mapping[str, Any], tags: Mapping[str, str], *, begun: bool = False) -> Provenance:
    """Return the provenance of a run of *config* with the extra *tags*; raises Refused with every violation.

    A run that has *begun* is in an experiment already, so that the config need not name one.
    """
    if not isinstance(config, Config | Mapping):
        fix = "load it: `load(Path('configs/experiment.yaml'), ExperimentConfig)`"
        raise Refused([Violation("config", f"it is of type {type(config).__name__}, not a config", fix)])
    provenance = gather(config)
    found = [*provenance.refusals, *_set_by_hand(tags), *([] if begun else _unplaced(provenance))]
    if provenance.git:
        found += foreign_code(PROJECT_ROOT, outside=provenance.policy.environment_drift == "refuse")
    # A run that is made again has the config of the run it repeats, from its evidence and not from a commit; the tag
    # that this gives it names that run, and `repro validate` sees whether the two agree.
    if provenance.policy.uncommitted_config == "refuse" and REPRODUCES not in run_context():
        found += _uncommitted_config(config)
    if provenance.policy.environment_drift == "refuse" and provenance.environment:
        found += [
            Violation(
                "environment_drift", str(drift), "nox -s dev installs what is locked, nox -s lock locks what you need"
            )
            for drift in provenance.environment.drift
        ]
    if problem := _unrecordable(provenance.values):
        raise Refused([*found, problem])
    found += [
        Violation(key, f"the tag is {value!r}, not text", f"write it as {str(value)!r}")
        for key, value in tags.items()
        if not isinstance(value, str)
    ]
    all_tags = {**{key: str(value) for key, value in tags.items()}, **provenance.tags}
    found += [*_unfit("tag", all_tags), *_unfit("param", provenance.params)]
    judged = violations(all_tags, provenance.params, provenance.policy)
    found += [violation for violation in judged if violation.key not in provenance.untold]
    if found:
        raise Refused(found)
    if provenance.entry_point is None:
        click.echo(
            "Warning: this run was started from no file of the project, so its code is in no commit, and "
            "`repro validate` will say so. To record a run that holds, put the code into a script in scripts/.",
            err=True,
        )
    return provenance


def _set_by_hand(tags: Mapping[str, str]) -> Iterator[Violation]:
    for key in sorted(tags.keys() & (PROVENANCE_TAGS | MLFLOW_TAGS.keys())):
        yield Violation(
            key, f"this tag is gathered, it cannot be set to {tags[key]!r} by hand", f"leave {key} out of `tags`"
        )


def _unplaced(provenance: Provenance) -> Iterator[Violation]:
    name = provenance.values.get("experiment_name")
    if not isinstance(name, str) or not name.strip():
        fix = "add experiment_name to configs/base.yaml"
        yield Violation("experiment_name", "the config does not name the experiment", fix)
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        yield Violation(
            "MLFLOW_RUN_ID",
            f"it says to go on with run {run_id[:40]}, but provenance belongs to one start of one run",
            "unset it",
        )


def _uncommitted_config(config: Config | Mapping[str, Any]) -> Iterator[Violation]:
    if not isinstance(config, Config):
        yield Violation("uncommitted_config", "the config did not come from a file", "load it from one with `load`")
        return
    for file in config.source.files:
        if not is_committed(PROJECT_ROOT, file):
            name = file.relative_to(PROJECT_ROOT).as_posix() if file.is_relative_to(PROJECT_ROOT) else str(file)
            yield Violation(
                "uncommitted_config",
                f"{name} differs from the commit and the policy says `uncommitted_config: refuse`",
                f"git add {name}, then git commit; or try values with --set",
            )


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
    """What MLflow would cut or refuse after the run was created."""
    for key, value in recorded.items():
        if len(key) > _LONGEST_KEY or not _KEY.fullmatch(key) or not _is_one_path(key):
            rule = f"at most {_LONGEST_KEY} letters, digits and _ - . : or space, and single / between them"
            yield Violation(key[:80], f"the name of this {kind} cannot be recorded", f"use {rule}")
        if len(value) > LONGEST[kind]:
            yield Violation(
                key,
                f"the {kind} has {len(value)} characters, more than the {LONGEST[kind]} that MLflow keeps",
                "shorten it, or put it into a file under data/ and name the file",
            )
        for secret in sorted(set(secrets_in(value.encode("utf-8", "replace")).values())):
            yield Violation(key, f"the {kind} looks like {secret}", "keep it in the environment and read it from there")


def _is_one_path(key: str) -> bool:
    """MLflow names files after params: a name such as ``a//b`` or ``../a`` would be that of another one."""
    return posixpath.normpath(key) == key and key != "." and not key.startswith(("..", "/"))
