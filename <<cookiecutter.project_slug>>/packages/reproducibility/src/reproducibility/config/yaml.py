"""Strict YAML: the small, unsurprising part of YAML that a configuration needs, each value with its line.

This module reads no file: see `loader.read_yaml`.

Scalars follow the YAML 1.2 core schema, without its leading zeros: `no` and `012` are text, `1e-3` and `0x1F` are
numbers. Text that two readers could understand differently is refused. Anchors and merge keys work.
"""

import json
import math
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, ClassVar

import yaml

from ..display import one_line
from ..errors import Refused, Violation, refuse
from .messages import KeyPath, Marks, Place, key_of

MAX_SIZE = 100_000  # values and characters, aliases written out: a few lines of aliases can stand for gigabytes
MAX_DEPTH = 64
MAX_DIGITS = 250  # keeps every whole number, hexadecimal too, in the range of a float

Placing = Callable[[int], Place]
"""Returns the place of a line, counted from 1, of the text that is parsed."""

_TAG = "tag:yaml.org,2002:"
_NOT_FINITE = "not-finite"
_CORE = {
    _TAG + "null": r"(?:~|null|Null|NULL|)",
    _TAG + "bool": r"(?:true|True|TRUE|false|False|FALSE)",
    _TAG + "int": r"(?:[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+)",
    _TAG + "float": r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
    _NOT_FINITE: r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
    _TAG + "merge": r"<{2}",
}
_HINTS = {
    r"\t": "indent with spaces instead of a tab",
    "another document": "keep one document in the file: remove the line ---",
    "mapping values are not allowed": "check the indentation, and quote text that contains ': '",
    "undefined alias": "define it first with &name, or quote text that begins with *",
    "duplicate anchor": "give each anchor a name of its own",
}
_ANY_HINT = "check quotes, brackets and indentation up to there; text that holds one of : # * & ! % @ may need quotes"


def parse_yaml(text: str, source: str) -> tuple[dict[str, Any], Marks]:
    """Return the mapping in *text*, and the place of each value by its path of keys and list positions.

    Values are dicts, lists, text, finite numbers, booleans and None. Raises Refused, naming *source* and the line, for
    anything else.
    """
    placing = partial(Place, source)
    node = _composed(text, source)
    if node is None:
        refuse(source, "the file is empty", "write `key: value` lines into it")
    if not isinstance(node, yaml.MappingNode):
        line = node.start_mark.line + 1
        refuse(placing(line), "the top level is not a mapping", "write `key: value` lines at the left margin")
    return _build(node, placing)


def parse_inline(text: str, place: Place) -> tuple[Any, Marks]:
    """Return the value that one line such as ``3``, ``text``, ``[1, 2]`` or ``{a: 1}`` spells; None for an empty one.

    Raises Refused as `parse_yaml` does, naming *place*, and also when YAML would drop a part of the text as a comment.
    """
    node = _compose(text, lambda line: place)
    inner = text.strip()
    spelled = "" if node is None else text[node.start_mark.index : node.end_mark.index]
    if spelled != inner or (isinstance(node, yaml.CollectionNode) and not node.flow_style):
        quoted = json.dumps(inner, ensure_ascii=False)
        refuse(place, "YAML does not read this as one value", f"quote the text: {one_line(quoted)}")
    return (None, {}) if node is None else _build(node, lambda line: place)


def to_yaml(values: Any) -> str:
    """Return *values*, in their order, as YAML from which `parse_yaml` returns exactly the same values.

    Text that some reader of YAML takes for a number, a date or a boolean is quoted.
    """
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=10**6)


def decoded(data: bytes, source: str) -> str:
    """Return *data* as text; raises Refused, naming *source* and the line, when it is not plain UTF-8."""
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        refuse(f"{source}:1", "begins with a byte order mark", "save the file as UTF-8 without a BOM")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        refuse(f"{source}:{line}", f"the byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8")


@lru_cache(maxsize=16)  # the start of one run asks three times for sections of configs/base.yaml
def _composed(text: str, source: str) -> yaml.Node | None:
    return _compose(text, partial(Place, source))


def _compose(text: str, placing: Placing) -> yaml.Node | None:
    try:
        loader = _Loader(text, placing)
    except yaml.reader.ReaderError as error:
        place = placing(text.count("\n", 0, error.position) + 1)
        refuse(place, f"holds the control character {error.character!r}", "remove it")
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = one_line(error.problem or error.context, 120)
        fix = next((fix for words, fix in _HINTS.items() if words in problem), _ANY_HINT)
        refuse(placing(mark.line + 1), f"not valid YAML at column {mark.column + 1}: {problem}", fix)
    except (ValueError, OverflowError):  # PyYAML lets these out for an escape such as "\UFFFFFFFF"
        refuse(placing(loader.line + 1), "not valid YAML: an escape or a version is out of range", "correct it")


def _build(node: yaml.Node, placing: Placing) -> tuple[Any, Marks]:
    """Return the value of *node* and the marks of its parts.

    Raises Refused with every duplicate key, odd key and bad number at once, or for aliases that never end.
    """
    builder = _Builder(placing)
    value = builder.build(node, ())
    if builder.violations:
        raise Refused(builder.violations)
    return value, builder.marks


class _Loader(yaml.SafeLoader):
    """Composes nodes and constructs no objects. Refuses explicit tags, and nesting that Python could not follow."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}

    def __init__(self, text: str, placing: Placing) -> None:
        self.placing = placing
        self.depth = 0
        super().__init__(text)

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        place = self.placing(event.start_mark.line + 1)
        if getattr(event, "tag", None) is not None:
            tag = one_line(event.tag.replace(_TAG, "!!"))
            refuse(place, f"the tag {tag} is not allowed", "remove it; quote what is meant as text")
        if self.depth > MAX_DEPTH:
            refuse(place, f"is nested more than {MAX_DEPTH} levels deep", "make it flatter")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode) and not isinstance(event, yaml.AliasEvent):
            try:
                # JSON, which YAML contains, writes a character beyond 16 bits as two escapes
                node.value = node.value.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                refuse(place, "holds half a character (a lone surrogate)", "correct the \\u escape")
        return node


class _Builder:
    """Turns nodes into values, and collects the marks and the violations."""

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
            problem = "too much in all, aliases written out"
            refuse(self._place(node), problem, "keep settings here and data under data/")
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
            if key.tag not in (_TAG + "str", _TAG + "merge"):
                problem = f"the key {one_line(name)} is not text" if name else "a key is not text"
                self._complain(key, path, problem, "give it a name, or quote it")
            elif name in own:
                first = self._place(own[name][0])
                self._complain(key, (*path, name), f"is already set at {first}", "keep one of the two")
            elif "." in name or not name:
                self._complain(key, path, f"the key '{one_line(name)}' is empty or has a dot", "rename it, or nest it")
            else:
                own[name] = (key, value)
        # Before the mapping's own keys, wherever the merge key stands: the marks of its own keys are the ones to keep.
        merge = next((name for name, (key, _) in own.items() if key.tag == _TAG + "merge"), None)
        merged = self._merged(own.pop(merge)[1], path) if merge else {}
        return merged | {name: self._child(key, value, (*path, name)) for name, (key, value) in own.items()}

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
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int" and len(text) <= MAX_DIGITS:
            return int(text, 0)
        if kind == "float" and math.isfinite(number := float(text)):
            return number
        if kind in ("int", "float", _NOT_FINITE):
            what = "too long a number" if kind == "int" else "not a finite number"
            self._complain(node, path, f"{one_line(text)} is {what}", "write a number in range, or quote it as text")
        return text


class _Dumper(yaml.SafeDumper):
    """Quotes all text that PyYAML's resolvers (YAML 1.1) or ours take for something else: it has both."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Escapes are the one style in which every character comes back, line breaks of all kinds included.
    return dumper.represent_scalar(_TAG + "str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _represent_text)
for _tag, _pattern in _CORE.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(rf"{_pattern}\Z"), None)
