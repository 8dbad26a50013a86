"""A configuration file: strict YAML that may extend another file, validated by a typed model before anything runs."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from ..digest import canonical, digest
from ..display import one_line, shown_path
from ..errors import Refused, Violation
from .messages import KeyPath, Marks, Place, explain, key_of
from .yaml import parse_inline, read_yaml

# The team's sections of TEAM_FILE: no part of an experiment, so no experiment may change them. Each with its way out.
TEAM_FILE = "base.yaml"
TEAM_SECTIONS = {
    "policy": "the policy belongs in configs/base.yaml, for everyone",
    "tracking": "it belongs in configs/base.yaml, for everyone; "
    "MLFLOW_TRACKING_URI in the environment changes the server for one run",
}


@dataclass(frozen=True)
class ConfigSource:
    """What a config was made from: absolute paths, the file asked for before what it extends, and the overrides."""

    files: tuple[Path, ...] = ()
    overrides: tuple[str, ...] = ()


class Section(BaseModel):
    """Base of every typed section: frozen, unknown keys refused, nothing converted, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Config(Section):
    """Base of a whole configuration; the fields are the project's own."""

    _source: ConfigSource = PrivateAttr(default=ConfigSource())

    @property
    def source(self) -> ConfigSource:
        """Where the values came from; empty for a config that was not loaded from a file."""
        return self._source


C = TypeVar("C", bound=Config)
M = TypeVar("M", bound=BaseModel)


def load(path: Path, model: type[C], overrides: Sequence[str] = ()) -> C:
    """Return the configuration in *path* as a *model*.

    The file may name another in `extends`, relative to itself, and so on: mappings are merged key by key, everything
    else is replaced. *overrides* such as ``model.max_depth=3`` come last. Values are checked as they are: a whole
    number is fine for a float, nothing else is converted. The team's sections are left out.

    Raises Refused, with a violation for each key at fault, naming the file and line or the override to correct.
    """
    layers = _chain(path)
    files = tuple(layer.file for layer in layers)
    base = _stack(reversed(layers))
    changes: list[_Layer] = []
    violations: list[Violation] = []
    for override in overrides:
        with _gathering(violations):
            changes.append(_override(override))
    final = _stack([base, *changes])
    with _gathering(violations):
        config = _validate(final.values, model, final.marks, [shown_path(file) for file in files])
    if violations:
        raise Refused(violations)
    config._source = ConfigSource(files, tuple(overrides))
    return config


@contextmanager
def _gathering(violations: list[Violation]) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        violations.extend(refused.violations)


def read_defaults(path: Path) -> dict[str, Any]:
    """Return the values in *path* and what it extends, without the team's sections; no model has checked them."""
    return _stack(reversed(_chain(path))).values


def load_section(path: Path, name: str, model: type[M]) -> M:
    """Return the section *name* of one file as a *model*, which sees an empty section where there is none.

    The rest of the file is read but not validated. Raises Refused as `load` does.
    """
    values, marks = read_yaml(path)
    marks = {place[1:]: mark for place, mark in marks.items() if place[:1] == (name,)}
    return _validate(values.get(name, {}), model, marks, [shown_path(path)], prefix=(name,))


def flatten(values: Mapping[str, Any]) -> dict[str, str]:
    """Return every leaf under its dotted name: text as it is, anything else as compact JSON.

    A list is a leaf, and so is an empty mapping (``{}``).
    """
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{name}.{inner}": text for inner, text in flatten(value).items()}
        else:
            flat[name] = value if isinstance(value, str) else canonical(value).decode()
    return flat


def config_digest(values: Mapping[str, Any]) -> str:
    """Return the digest of a config's values: of its ``model_dump(mode="json")``, where `1e-3` and `0.001` are one."""
    return digest(canonical(values))


@dataclass(frozen=True)
class _Layer:
    """The values of one file or override, and the place of each."""

    values: dict[str, Any]
    marks: Marks
    file: Path = Path()


def _chain(path: Path) -> list[_Layer]:
    """Return the file and, in order, what it extends, without the team's sections."""
    layers: list[_Layer] = []
    target: Path | None = Path(os.path.realpath(path))
    while target is not None:
        layers.append(_Layer(*read_yaml(target), target))
        target = _take_extended(layers)
        values, marks = layers[-1].values, layers[-1].marks
        team_file = target is None and layers[-1].file.name == TEAM_FILE
        misplaced = [name for name in TEAM_SECTIONS if name in values and not team_file]
        if misplaced:
            raise Refused(_team_violation(key_of(marks[(name,)], (name,)), name) for name in misplaced)
        for name in TEAM_SECTIONS:
            values.pop(name, None)
    return layers


def _team_violation(key: str, name: str) -> Violation:
    return Violation(key, "is the team's and cannot differ for one experiment", TEAM_SECTIONS[name])


def _take_extended(layers: Sequence[_Layer]) -> Path | None:
    """Take `extends` out of the last layer and return the file it names, None without one."""
    values, marks, file = layers[-1].values, layers[-1].marks, layers[-1].file
    if "extends" not in values:
        return None
    name = values.pop("extends")
    key = key_of(marks[("extends",)], ("extends",))
    if not isinstance(name, str) or not name or "\0" in name:
        raise Refused([Violation(key, "expected the name of one file", "write it as `extends: base.yaml`")])
    target = Path(os.path.realpath(file.parent / name))
    if target in (files := [layer.file for layer in layers]):
        circle = " -> ".join(shown_path(file) for file in [*files[files.index(target) :], target])
        raise Refused([Violation(key, f"goes in a circle: {circle}", "remove one of these `extends` lines")])
    if not target.is_file():
        problem = f"names {one_line(name)}, and there is no file {shown_path(target)}"
        raise Refused([Violation(key, problem, "correct the name; it is relative to the file it stands in")])
    return target


def _override(text: str) -> _Layer:
    """Return ``a.b=value`` as the nested values it sets."""
    source = f"--set {one_line(text, 100)}"
    name, equals, written = text.partition("=")
    path = tuple(name.split("."))
    if not equals or any(not part or part != part.strip() for part in path):
        raise Refused([Violation(source, "is not of the form key=value", "write it like --set model.max_depth=3")])
    if path[0] in TEAM_SECTIONS:
        raise Refused([_team_violation(source, path[0])])
    if path == ("extends",):
        raise Refused([Violation(source, "only a file can extend another", "write `extends:` into the file")])
    place = Place(source, sets=path)
    value, inner = parse_inline(written, place)
    marks: Marks = {path[:end]: place for end in range(1, len(path) + 1)}
    marks |= {(*path, *deeper): place for deeper in inner}
    for part in reversed(path):
        value = {part: value}
    return _Layer(value, marks)


def _stack(layers: Iterable[_Layer]) -> _Layer:
    """Return the layers as one, each over those before it."""
    values: dict[str, Any] = {}
    marks: Marks = {}
    for layer in layers:
        values = _merge(values, layer.values)
        marks |= layer.marks
    return _Layer(values, marks)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(name), dict)
        merged[name] = _merge(below[name], value) if both else value
    return merged


def _validate(values: Any, model: type[M], marks: Marks, sources: Sequence[str], prefix: KeyPath = ()) -> M:
    try:
        # JSON, so that a list may become a tuple and text a path or an enum member although nothing is converted
        return model.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise Refused(explain(error, model, values, marks, sources, prefix)) from None
