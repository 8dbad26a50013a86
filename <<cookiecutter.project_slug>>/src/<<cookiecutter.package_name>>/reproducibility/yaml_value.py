"""A YAML value: plain data from PyYAML's nodes, and the place of each part; what could be misread is refused."""

import math
from collections.abc import Callable
from typing import Any, NoReturn

import yaml

from .place import KeyPath, Marks, Place, key_of, one_line
from .violation import Refused, Violation

TAG = "tag:yaml.org,2002:"
NOT_FINITE = "not-finite"
MAX_SIZE = 100_000  # values and characters, aliases written out: a few lines of aliases can stand for gigabytes
MAX_DEPTH = 64
MAX_DIGITS = 250  # keeps every whole number, hexadecimal too, in the range of a float

Placing = Callable[[int], Place]
"""Tells the place of a line, counted from 1, of the text that is read."""


def refuse(place: Place | str, problem: str, fix: str) -> NoReturn:
    """Raise Refused for one thing that makes the rest unreadable."""
    raise Refused([Violation(str(place), problem, fix)])


def build(node: yaml.Node, placing: Placing) -> tuple[Any, Marks]:
    """Return the value of *node* and the marks of its parts.

    Raises Refused with every duplicate key, odd key and bad number at once, or for aliases that never end.
    """
    builder = _Builder(placing)
    value = builder.build(node, ())
    if builder.violations:
        raise Refused(builder.violations)
    return value, builder.marks


class _Builder:
    def __init__(self, placing: Placing) -> None:
        self.placing = placing
        self.marks: Marks = {}
        self.violations: list[Violation] = []
        self.size = 0
        self.open: list[yaml.Node] = []

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self.marks.setdefault(path, self._place(node))
        self.size += 1 + len(node.value)
        if any(node is outer for outer in self.open):
            refuse(self._place(node), "an alias refers to the value that it is part of", "write the value out")
        if self.size > MAX_SIZE or len(self.open) > MAX_DEPTH:
            refuse(self._place(node), "too much in all, aliases written out", "keep settings here and data under data/")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self.open.append(node)
        value = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._list(node, path)
        self.open.pop()
        return value

    def _place(self, node: yaml.Node) -> Place:
        return self.placing(node.start_mark.line + 1)

    def _complain(self, node: yaml.Node, path: KeyPath, problem: str, fix: str) -> None:
        self.violations.append(Violation(key_of(self._place(node), path), problem, fix))

    def _child(self, marked: yaml.Node, node: yaml.Node, path: KeyPath) -> Any:
        self.marks[path] = self._place(marked)
        return self.build(node, path)

    def _list(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any]:
        return [self._child(item, item, (*path, position)) for position, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if key.tag not in (TAG + "str", TAG + "merge"):
                problem = f"the key {one_line(name)} is not text" if name else "a key is not text"
                self._complain(key, path, problem, "give it a name, or quote it")
            elif name in own:
                first = self._place(own[name][0])
                self._complain(key, (*path, name), f"is already set at {first}", "keep one of the two")
            elif "." in name or not name:
                self._complain(key, path, f"the key '{one_line(name)}' is empty or has a dot", "rename it, or nest it")
            else:
                own[name] = (key, value)
        merged: dict[str, Any] = {}
        for key, value in own.values():
            if key.tag == TAG + "merge":
                merged = self._merged(value, path)
        values = {
            name: self._child(key, value, (*path, name))
            for name, (key, value) in own.items()
            if key.tag != TAG + "merge"
        }
        return merged | values

    def _merged(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        # reversed: the first mapping of a list of merges wins
        for source in reversed(node.value if isinstance(node, yaml.SequenceNode) else [node]):
            if isinstance(source, yaml.MappingNode):
                result.update(self.build(source, path))
            else:
                self._complain(source, path, "only mappings can be merged", "name an anchor that is on a mapping")
        return result

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        kind, text = node.tag.removeprefix(TAG), node.value
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int" and len(text) <= MAX_DIGITS:
            return int(text, 0)
        if kind == "float" and math.isfinite(number := float(text)):
            return number
        if kind in ("int", "float", NOT_FINITE):
            what = "too long a number" if kind == "int" else "not a finite number"
            self._complain(node, path, f"{one_line(text)} is {what}", "write a number in range, or quote it as text")
        return text
