"""A place: where a value of a configuration was written, the way a message names it."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ..display import one_line
from ..errors import Violation

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """A file as shown to the reader and a line from 1; or an override as it was given and the path it sets."""

    source: str
    line: int | None = None
    sets: KeyPath | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


Marks = dict[KeyPath, Place]


def dotted(path: KeyPath) -> str:
    """Return a path the way people write it: ``model.layers[2].size``; empty for the top level."""
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f"{'.' if name else ''}{one_line(part)}"
    return name


def key_of(place: Place | str, path: KeyPath) -> str:
    """Return the key of a violation: ``configs/experiment.yaml:7: model.max_depth``."""
    return f"{place}: {dotted(path)}" if path else str(place)


_WHOLE = ("a whole number", "write it in digits, such as 3, without quotes, leading zeros or _")
_NUMBER = ("a number", "write it such as 0.001 or 1e-3, without quotes, leading zeros or _")
_TEXT = ("text", "put the value in quotes")
_BOOLEAN = ("true or false", "write true or false, without quotes")
_LIST = ("a list", "write it as [a, b]")
_SECTION = ("a section", "write indented `key: value` lines under it")
_FINITE = ("a finite number", "write a number")

# pydantic's error types -> what was expected, and how to write it; {} takes the error's own context
_EXPECTED = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), _WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), _NUMBER),
    "finite_number": _FINITE,
    "string_type": _TEXT,
    **dict.fromkeys(("bool_type", "bool_parsing"), _BOOLEAN),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), _LIST),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), _SECTION),
    "none_required": ("nothing", "write null"),
    **dict.fromkeys(("literal_error", "enum"), ("{expected}", "write one of these")),
    "greater_than": ("more than {gt}", "change the value"),
    "greater_than_equal": ("at least {ge}", "change the value"),
    "less_than": ("less than {lt}", "change the value"),
    "less_than_equal": ("at most {le}", "change the value"),
}


def explain(
    error: ValidationError,
    model: type[BaseModel],
    values: dict[str, Any],
    marks: Marks,
    sources: Sequence[str],
    prefix: KeyPath = (),
) -> list[Violation]:
    """Return one violation for each key at fault.

    *values* is what *model* was asked to validate, *marks* the places of its values and *sources* the files as
    shown, the one to edit first. *prefix* is where *values* sits in its file.
    """
    by_path: dict[KeyPath, list[Any]] = {}
    for detail in error.errors(include_url=False, include_input=False):
        by_path.setdefault(_key_path(detail, values), []).append(detail)
    violations = []
    for path, details in by_path.items():
        kind = details[0]["type"]
        if kind == "missing":
            violations.append(_missing(path, marks, sources, prefix))
            continue
        place = _place(path, marks) or Place(sources[0])
        key = str(place) if place.sets == (*prefix, *path) else key_of(place, (*prefix, *path))
        problem, fix = _unknown(path, model, prefix) if kind == "extra_forbidden" else _mismatch(details, path, values)
        violations.append(Violation(key, problem, fix))
    return violations


def _key_path(detail: Any, values: Any) -> KeyPath:
    """Return the path of the value at fault: pydantic's location without the union members it tried."""
    path: list[str | int] = []
    here = values
    for part in detail["loc"]:
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]
            path.append(part)
    if detail["type"] == "missing":
        path.append(detail["loc"][-1])
    return tuple(path)


def _place(path: KeyPath, marks: Marks) -> Place | None:
    return next((marks[path[:end]] for end in range(len(path), -1, -1) if path[:end] in marks), None)


def _missing(path: KeyPath, marks: Marks, sources: Sequence[str], prefix: KeyPath) -> Violation:
    whole = (*prefix, *path)
    section = marks.get(path[:-1]) if len(whole) > 1 else None
    place = section if section and section.source == sources[0] else Place(sources[0])
    parent = dotted(whole[:-1])
    where = f" under `{parent}:`" if parent else ""
    shared = f", or in {sources[-1]} for every experiment" if len(sources) > 1 else ""
    fix = f"add `{path[-1]}: ...`{where} in {sources[0]}{shared}"
    return Violation(key_of(place, whole), "is missing", fix)


def _unknown(path: KeyPath, model: type[BaseModel], prefix: KeyPath) -> tuple[str, str]:
    name = str(path[-1])
    owners = _models_at(model, path[:-1])
    known = sorted({field for owner in owners for field in owner.model_fields})
    plain = {field.lower().replace("_", ""): field for field in known}
    near = difflib.get_close_matches(name.lower().replace("_", "").replace("-", ""), plain, n=1)
    guesses = [dotted((*prefix, *path[:-1], plain[near[0]]))] if near else []
    guesses += [dotted((*prefix, *other)) for other in _paths(model, ()) if other[-1] == name]
    if guesses:
        return f"unknown key; did you mean {guesses[0]}", f"write {guesses[0]}, or remove the line"
    listed = one_line(", ".join(known), 200) or "none"
    return "unknown key", f"remove it, or add a field to {owners[0].__name__}; the keys known here: {listed}"


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _models_at(model: type[BaseModel], path: KeyPath) -> list[type[BaseModel]]:
    """Return the models that may describe the section at *path*; keys of a dict and list positions lead nowhere new."""
    models = [model]
    for part in path:
        fields = [owner.model_fields[part] for owner in models if part in owner.model_fields]
        models = [found for field in fields for found in _models_in(field.annotation)] or models
    return models


def _paths(model: type[BaseModel], outer: KeyPath) -> Iterator[KeyPath]:
    for name, field in model.model_fields.items():
        yield (*outer, name)
        for section in _models_in(field.annotation):
            if len(outer) < 4:  # a model may contain itself
                yield from _paths(section, (*outer, name))


def _mismatch(details: Sequence[Any], path: KeyPath, values: Any) -> tuple[str, str]:
    got = values
    for part in path:
        got = got[part]
    expected, fixes = [], []
    for detail in details:
        context = detail.get("ctx", {})
        if detail["type"] in ("value_error", "assertion_error"):
            return one_line(str(context["error"]), 300), "change the value"
        if detail["type"] not in _EXPECTED:
            message = detail["msg"]
            return f"{one_line(message[:1].lower() + message[1:], 300)}, got {_named(got)}", "change the value"
        words, fix = _EXPECTED[detail["type"]]
        expected.append(words.format(**context))
        fixes.append(fix)
    if got is None and "nothing" not in expected:
        fixes = ["write a value, or remove the key"]
    return f"expected {' or '.join(dict.fromkeys(expected))}, got {_named(got)}", " or ".join(dict.fromkeys(fixes))


def _named(value: Any) -> str:
    if isinstance(value, str):
        return f"the text '{one_line(value)}'"
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a section" if isinstance(value, dict) else "a list"
    return f"the number {one_line(str(value))}"
