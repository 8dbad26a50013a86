"""The space of a sweep: the values that it tries for each key of the experiment, read strictly."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from ..config.messages import KeyPath, Marks, dotted, key_of
from ..digest import canonical
from ..errors import Refused, Violation

PREFIX = ("sweep", "space")  # the path of the space in its file
_MOST_TRIALS = 100_000
_BOUNDS = {"low", "high"}
_OF_A_RANGE = _BOUNDS | {"step", "log"}

# Raises Refused if the experiment cannot take a value at a path of keys; the third argument is where the value stands.
Try = Callable[[KeyPath, Any, KeyPath], None]


@dataclass(frozen=True)
class Choice:
    """One of several values, of any type."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Range:
    """A number from *low* to *high*, both included.

    step: only numbers that are a multiple of it above *low*. whole: only whole numbers.
    """

    low: float
    high: float
    step: float | None
    log: bool
    whole: bool


@dataclass(frozen=True)
class Dimension:
    """One key of the experiment, and the values that it takes."""

    path: tuple[str, ...]
    domain: Choice | Range

    @property
    def name(self) -> str:
        return dotted(self.path)

    @property
    def count(self) -> int:
        """How many values a grid tries; a range has as many as its step says."""
        if isinstance(self.domain, Choice):
            return len(self.domain.values)
        return int((self.domain.high - self.domain.low) / (self.domain.step or 1) + 1e-9) + 1

    @property
    def grid(self) -> list[Any]:
        """Every value that a grid tries."""
        if isinstance(self.domain, Choice):
            return list(self.domain.values)
        # 12 digits: 0.1 + 2 * 0.1 is 0.3 then.
        steps = (self.domain.low + number * (self.domain.step or 1) for number in range(self.count))
        return [value if isinstance(value, int) else float(f"{value:.12g}") for value in steps]


def grid_of(dimensions: tuple[Dimension, ...]) -> Iterator[dict[str, Any]]:
    """Yield every combination of values, {dotted key: value}, in the order of the file."""
    names = [dimension.name for dimension in dimensions]
    for values in product(*(dimension.grid for dimension in dimensions)):
        yield dict(zip(names, values, strict=True))


def read_space(
    space: Mapping[str, Any], marks: Marks, experiment: Mapping[str, Any], try_value: Try, *, is_grid: bool
) -> tuple[Dimension, ...]:
    """Return the dimensions of *space*, whose values stand at *marks*.

    *experiment* has the values of the experiment. Raises Refused with every key that the experiment does not know, and
    with every value that it cannot take. *is_grid*: each dimension must have a countable number of values.
    """
    reader = _Reader(marks, try_value, is_grid)
    reader.read((), space, experiment)
    if not reader.dimensions and not reader.violations:
        reader.complain((), "the space is empty", "name a key of the experiment, with a list of values to try")
    elif is_grid and not reader.violations:
        size = math.prod(dimension.count for dimension in reader.dimensions)
        if size > _MOST_TRIALS:
            reader.complain((), f"the grid has {size:,} combinations", "try fewer values, or use sampler: random")
    if reader.violations:
        raise Refused(dict.fromkeys(reader.violations))  # a key that is unknown is unknown for each of its values
    return tuple(reader.dimensions)


class _Reader:
    """Collects the dimensions and the violations."""

    def __init__(self, marks: Marks, try_value: Try, is_grid: bool) -> None:
        self.marks = marks
        self.try_value = try_value
        self.is_grid = is_grid
        self.dimensions: list[Dimension] = []
        self.violations: list[Violation] = []

    def complain(self, path: KeyPath, problem: str, fix: str) -> None:
        whole = (*PREFIX, *path)
        place = next(self.marks[whole[:end]] for end in range(len(whole), -1, -1) if whole[:end] in self.marks)
        self.violations.append(Violation(key_of(place, whole), problem, fix))

    def read(self, path: tuple[str, ...], space: Any, experiment: Any) -> None:
        if isinstance(space, list):
            self._choice(path, space)
        elif isinstance(space, dict) and (isinstance(experiment, dict) or not space.keys() & _BOUNDS):
            known = experiment if isinstance(experiment, dict) else {}
            for name, inner in space.items():
                self.read((*path, name), inner, known.get(name))
        elif isinstance(space, dict):
            self._range(path, space)
        else:
            self.complain(path, "expected a list of values or a range", "write [1, 2], or {low: 1, high: 2}")

    def _accepts(self, path: tuple[str, ...], value: Any, at: KeyPath) -> bool:
        try:
            self.try_value(path, value, at)
        except Refused as refused:
            self.violations.extend(refused.violations)
            return False
        return True

    def _choice(self, path: tuple[str, ...], values: list[Any]) -> None:
        if not values:
            return self.complain(path, "has no values", "list the values to try")
        seen: dict[bytes, int] = {}
        for number, value in enumerate(values):
            if (text := canonical(value)) in seen:
                self.complain((*path, number), "stands in the list already", "list each value once")
            seen[text] = number
        # all of them, so that each one that does not fit is named
        if all([self._accepts(path, value, (*path, number)) for number, value in enumerate(values)]):
            self.dimensions.append(Dimension(path, Choice(tuple(values))))

    def _range(self, path: tuple[str, ...], given: dict[str, Any]) -> None:
        before = len(self.violations)
        for name in sorted(given.keys() - _OF_A_RANGE):
            self.complain((*path, name), "unknown key of a range", "use low, high, step and log")
        for name in sorted(_BOUNDS - given.keys()):
            self.complain(path, f"the range has no {name}", f"add `{name}: ...`")
        for name in sorted(given.keys() & {"low", "high", "step"}):
            if isinstance(given[name], bool) or not isinstance(given[name], int | float):
                self.complain((*path, name), "is not a number", "write a number; other values go into a list")
        if not isinstance(log := given.get("log", False), bool):
            self.complain((*path, "log"), "is neither true nor false", "write `log: true`, or remove it")
        if len(self.violations) > before:
            return
        low, high, step = given["low"], given["high"], given.get("step")
        if low >= high:
            self.complain((*path, "high"), f"is not above low, {low}", "write the smaller number as low")
        elif log and (low <= 0 or step is not None):
            problem = "a logarithmic range has a step" if step is not None else "a logarithmic range begins above 0"
            self.complain((*path, "log"), problem, "remove log, or correct the range")
        elif step is not None and not 0 < step <= high - low:
            self.complain((*path, "step"), "is not between 0 and the width of the range", "correct the step")
        elif all([self._accepts(path, given[name], (*path, name)) for name in ("low", "high")]):
            self._add_range(path, low, high, step, log)

    def _add_range(self, path: tuple[str, ...], low: float, high: float, step: float | None, log: bool) -> None:
        whole = isinstance(low, int) and isinstance(high, int) and not self._takes_fractions(path, low, high)
        if whole and step is not None and not isinstance(step, int):
            return self.complain((*path, "step"), "the key takes whole numbers only", "write a whole number")
        if self.is_grid and step is None and not whole:
            return self.complain(
                path, "a grid needs to know which values to try", "add `step: ...`, or list the values"
            )
        if self.is_grid and log:
            return self.complain((*path, "log"), "a grid has no logarithmic ranges", "list the values")
        self.dimensions.append(Dimension(path, Range(low, high, step, log, whole)))

    def _takes_fractions(self, path: tuple[str, ...], low: float, high: float) -> bool:
        """Whether the experiment takes numbers between whole ones: the type of the key says so."""
        try:
            self.try_value(path, low + (high - low) / 2 + 0.25, (*path, "low"))
        except Refused:
            return False
        return True


def written(value: Any) -> str:
    """Return *value* as `--set` takes it."""
    return canonical(value).decode()
