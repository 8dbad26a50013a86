"""A configuration file: strict YAML that may extend another file, validated by a typed model before anything runs."""

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, PrivateAttr, ValidationError

from ..display import one_line, shown_path
from ..errors import Refused, Violation, refuse
from .messages import KeyPath, Marks, Place, explain, key_of
from .values import Section
from .yaml import decoded, parse_inline, parse_yaml

MAX_BYTES = 1024 * 1024

# The sections of TEAM_FILE that hold for the whole team. No experiment may change them. Each with the fix to propose.
TEAM_FILE = "base.yaml"
TEAM_SECTIONS = {
    "data_source": "it belongs in configs/base.yaml, for everyone",
    "policy": "the policy belongs in configs/base.yaml, for everyone",
    "tracking": "it belongs in configs/base.yaml, for everyone; "
    "MLFLOW_TRACKING_URI in the environment changes the server for one run",
}


@dataclass(frozen=True)
class ConfigSource:
    """What a config was loaded from: absolute paths, each file before the file that it extends, and the overrides."""

    files: tuple[Path, ...] = ()
    overrides: tuple[str, ...] = ()


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

    The file may name another file in `extends`, relative to itself, and that file may do so, too. Mappings are merged
    key by key, every other value is replaced. *overrides* such as ``model.max_depth=3`` come last. No value is
    converted, with one exception: a whole number may stand for a float. The team's sections are left out.

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


def load_changed(path: Path, model: type[C], changes: dict[str, Any], marks: Marks, prefix: KeyPath = ()) -> C:
    """Return the configuration in *path* with *changes*, nested values that another file has at *marks*.

    *prefix* is the path of *changes* in that file. Raises Refused, as `load` does, naming the other file.
    """
    layers = _chain(path)
    final = _stack([*reversed(layers), _Layer(changes, marks)])
    return _validate(final.values, model, final.marks, [shown_path(layers[0].file)], prefix)


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
    """Return the section *name* of one file as a *model*; a section that is missing counts as empty.

    The rest of the file is read and not validated. Raises Refused as `load` does.
    """
    values, marks = read_yaml(path)
    marks = {place[1:]: mark for place, mark in marks.items() if place[:1] == (name,)}
    return _validate(values.get(name, {}), model, marks, [shown_path(path)], prefix=(name,))


def read_yaml(path: Path) -> tuple[dict[str, Any], Marks]:
    """Return what `parse_yaml` returns for the text of one file; `extends` is an ordinary key here.

    Raises Refused, naming the file and the line, for a file that cannot be read or is not strict YAML.
    """
    source = shown_path(path)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
            refuse(source, f"is {kind}, not a file", "give the path of a YAML file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        refuse(source, "there is no such file", "check the path and the folder you are in")
    except OSError as error:
        refuse(source, f"cannot be read: {error.strerror}", "make it a file that you may read")
    if len(data) > MAX_BYTES:
        refuse(source, f"is larger than {MAX_BYTES // 1024} KiB", "keep settings here and data under data/")
    return parse_yaml(decoded(data, source), source)


@dataclass(frozen=True)
class _Layer:
    """The values of one file or override, and the place of each."""

    values: dict[str, Any]
    marks: Marks
    file: Path = Path()


def _chain(path: Path) -> list[_Layer]:
    """Return the file, the file that it extends, and so on; all without the team's sections."""
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
    """Remove `extends` from the last layer and return the file that it names; None without `extends`."""
    values, marks, file = layers[-1].values, layers[-1].marks, layers[-1].file
    if "extends" not in values:
        return None
    name = values.pop("extends")
    key = key_of(marks[("extends",)], ("extends",))
    if not isinstance(name, str) or not name or "\0" in name:
        refuse(key, "expected the name of one file", "write it as `extends: base.yaml`")
    target = Path(os.path.realpath(file.parent / name))
    if target in (files := [layer.file for layer in layers]):
        circle = " -> ".join(shown_path(file) for file in [*files[files.index(target) :], target])
        refuse(key, f"goes in a circle: {circle}", "remove one of these `extends` lines")
    if not target.is_file():
        problem = f"names {one_line(name)}, and there is no file {shown_path(target)}"
        refuse(key, problem, "correct the name, which is relative to the file that names it")
    return target


def _override(text: str) -> _Layer:
    """Return ``a.b=value`` as the nested values it sets."""
    source = f"--set {one_line(text, 100)}"
    name, equals, written = text.partition("=")
    path = tuple(name.split("."))
    if not equals or any(not part or part != part.strip() for part in path):
        refuse(source, "is not of the form key=value", "write it like --set model.max_depth=3")
    if path[0] in TEAM_SECTIONS:
        raise Refused([_team_violation(source, path[0])])
    if path == ("extends",):
        refuse(source, "only a file can extend another", "write `extends:` into the file")
    place = Place(source, sets=path)
    value, inner = parse_inline(written, place)
    marks: Marks = {path[:end]: place for end in range(1, len(path) + 1)}
    marks |= {(*path, *deeper): place for deeper in inner}
    for part in reversed(path):
        value = {part: value}
    return _Layer(value, marks)


def _stack(layers: Iterable[_Layer]) -> _Layer:
    """Merge the layers into one; a later layer wins."""
    values: dict[str, Any] = {}
    marks: Marks = {}
    for layer in layers:
        values = merged(values, layer.values)
        marks |= layer.marks
    return _Layer(values, marks)


def merged(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of *below* with those of *above*, which win; dicts are merged key by key."""
    result = dict(below)
    for name, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(name), dict)
        result[name] = merged(below[name], value) if both else value
    return result


def _validate(values: Any, model: type[M], marks: Marks, sources: Sequence[str], prefix: KeyPath = ()) -> M:
    try:
        # From JSON, for pydantic then accepts a list for a tuple, and text for a path or an enum, also in strict mode.
        return model.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise Refused(explain(error, model, values, marks, sources, prefix)) from None
