"""Messages: what is wrong with a configuration, with the file, the line and the key to correct."""

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ..display import listed, one_line
from ..errors import Violation

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Where a value was written: a file and a line, counted from 1; or an override, and the path that it sets."""

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


def explain(
    error: ValidationError,
    model: type[BaseModel],
    values: dict[str, Any],
    marks: Marks,
    sources: Sequence[str],
    prefix: KeyPath = (),
) -> list[Violation]:
    """Return one violation for each key at fault, in the words of pydantic.

    *model* was asked to validate *values*. *marks* are the places of the values. *sources* are the files as shown to
    the user: the first one is the one to edit. *prefix* is the path of *values* in their file.
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
        if kind == "extra_forbidden":
            problem, fix = _unknown(path, model, prefix)
        else:
            problem, fix = _mismatch(details, path, values), "correct the value"
        violations.append(Violation(key, problem, fix))
    return violations


def _key_path(detail: Any, values: Any) -> KeyPath:
    """Return the path of the value at fault: the location that pydantic reports, without the types of a union."""
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
    fix = f"remove it, or add a field to {owners[0].__name__}; the keys known here: {listed(known, 20) or 'none'}"
    return "unknown key", fix


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


def _mismatch(details: Sequence[Any], path: KeyPath, values: Any) -> str:
    """Return what is wrong with a value, and the value; one that may have several types has a message for each."""
    value = values
    for part in path:
        value = value[part]
    # What a model's own validator raises comes with pydantic's name for the exception in front.
    texts = [re.sub(r"^(Value error|Assertion failed), ", "", detail["msg"]) for detail in details]
    words = " or ".join(dict.fromkeys(text[:1].lower() + text[1:] for text in texts))
    if isinstance(value, str):
        shown = f"'{one_line(value)}'"
    elif isinstance(value, dict | list):
        shown = "a section" if isinstance(value, dict) else "a list"
    else:
        shown = one_line(json.dumps(value))
    return f"{one_line(words, 300)}, got {shown}"
