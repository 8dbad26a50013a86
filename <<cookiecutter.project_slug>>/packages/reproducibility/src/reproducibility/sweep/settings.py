"""The settings of a sweep: the section ``sweep`` of a config file that extends an experiment, read strictly."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from ..config.loader import Config, load_changed, load_section, read_yaml
from ..config.messages import KeyPath, Marks, dotted, key_of
from ..config.values import Section
from ..display import shown_path
from ..errors import Refused, Violation, refuse
from ..project import load
from .space import PREFIX, Dimension, read_space

_SECTION = "sweep"


class _Settings(Section):
    metric: Annotated[str, Field(min_length=1)]
    direction: Literal["minimize", "maximize"]
    sampler: Literal["grid", "random", "tpe"]
    trials: Annotated[int, Field(ge=1, le=100_000)] | None = None
    seeds: tuple[int, ...] = ()
    space: dict[str, Any]


class _AnyConfig(Config):
    """The experiment with the section `sweep`: its keys were checked one by one."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True)
class Settings:
    """What a sweep does. A combination is one value for each key of the space; each seed makes a trial of it.

    file: the config of the sweep. experiment: the config that it extends. config: the experiment's values and the
    sweep's, for the run of the sweep. combinations: how many there are, or are asked for.
    """

    file: Path
    experiment: Path
    config: Config
    metric: str
    direction: Literal["minimize", "maximize"]
    sampler: Literal["grid", "random", "tpe"]
    seeds: tuple[int, ...]
    seed: int
    dimensions: tuple[Dimension, ...]
    combinations: int

    @property
    def trials(self) -> int:
        return self.combinations * self.trials_of_each

    @property
    def trials_of_each(self) -> int:
        """How many trials a combination has."""
        return len(self.seeds) or 1

    def numbers_of(self, combination: int) -> range:
        """Return the numbers of the trials of a combination: one for each seed."""
        return range(combination * self.trials_of_each, (combination + 1) * self.trials_of_each)

    def combination_of(self, number: int) -> int:
        """Return the combination that the trial *number* is of."""
        return number // self.trials_of_each

    @property
    def maximizes(self) -> bool:
        return self.direction == "maximize"

    @property
    def changes_data(self) -> bool:
        """Whether trials may train on other data than the experiment."""
        return any(dimension.path[0] == "data" for dimension in self.dimensions)


def read_settings(path: Path, model: type[Config]) -> Settings:
    """Return the settings in the file at *path*, for the experiment that *model* describes.

    Raises Refused with every key that the experiment does not know, every value that it cannot take, and everything
    else that is wrong, by file, line and key.
    """
    values, marks = read_yaml(path)
    source = shown_path(path)
    if _SECTION not in values:
        refuse(source, "it describes no sweep: the section `sweep` is missing", "give the file of a sweep")
    if not isinstance(values.get("extends"), str):
        refuse(source, "it does not say which experiment the sweep varies", "add `extends: experiment.yaml`")
    if others := [name for name in values if name not in ("extends", _SECTION)]:
        fix = f"write it into {values['extends']}, or as a list of one value under sweep.space"
        raise Refused(
            Violation(key_of(marks[(name,)], (name,)), "belongs to the experiment, not to the sweep", fix)
            for name in others
        )
    section = load_section(path, _SECTION, _Settings)
    experiment = path.resolve().parent / values["extends"]
    if not experiment.is_file():
        key = key_of(marks[("extends",)], ("extends",))
        refuse(key, f"there is no file {shown_path(experiment)}", "correct the name, which is relative to this file")
    defaults = load(experiment, model).model_dump(mode="json")

    def try_value(at: KeyPath, value: Any, written_at: KeyPath) -> None:
        place = marks[(*PREFIX, *written_at)]
        changes = value
        for part in reversed(at):
            changes = {part: changes}
        try:
            load_changed(experiment, model, changes, {at[:end]: place for end in range(1, len(at) + 1)}, PREFIX)
        except Refused as refused:
            sections = tuple(f": {dotted((*PREFIX, *section))}" for section in _sections_around(at, defaults))
            # Whether a section as a whole is right depends on its other keys too, which the sweep may change.
            if found := [each for each in refused.violations if not each.key.endswith(sections)]:
                raise Refused(found) from None

    is_grid = section.sampler == "grid"
    dimensions, violations = (), []
    try:
        dimensions = read_space(section.space, marks, defaults, try_value, is_grid=is_grid)
    except Refused as refused:
        violations += refused.violations
    violations += [*_seeds(section, marks, experiment, model), *_trials(section, marks, source)]
    if violations:
        raise Refused(violations)
    count = math.prod(each.count for each in dimensions) if is_grid else section.trials // (len(section.seeds) or 1)
    return Settings(
        file=path.resolve(),
        experiment=experiment,
        config=load(path, _AnyConfig),
        metric=section.metric,
        direction=section.direction,
        sampler=section.sampler,
        seeds=section.seeds,
        seed=defaults.get("seed", 0),
        dimensions=dimensions,
        combinations=count,
    )


def _sections_around(path: KeyPath, values: Any) -> Iterator[KeyPath]:
    """Yield the path of each section of *values* that *path* leads through."""
    for end, name in enumerate(path):
        if not isinstance(values, dict):
            return
        yield path[:end]
        values = values.get(name)


def _seeds(section: _Settings, marks: Marks, experiment: Path, model: type[Config]) -> list[Violation]:
    path = (_SECTION, "seeds")
    found = []
    for number, seed in enumerate(section.seeds):
        place = marks[(*path, number)]
        if seed in section.seeds[:number]:
            found.append(Violation(key_of(place, (*path, number)), "stands in the list already", "list each seed once"))
            continue
        try:
            load_changed(experiment, model, {"seed": seed}, {("seed",): place}, path)
        except Refused as refused:
            found += refused.violations
    if section.seeds and "seed" in section.space:
        key = key_of(marks[path], path)
        found.append(Violation(key, "the space has the seed too", "keep one of the two: seeds are averaged over"))
    return found


def _trials(section: _Settings, marks: Marks, source: str) -> list[Violation]:
    path = (_SECTION, "trials")
    if section.sampler == "grid":
        if section.trials is None:
            return []
        key = key_of(marks[path], path)
        return [Violation(key, "a grid has as many trials as it has combinations and seeds", "remove the line")]
    if section.trials is None:
        key = key_of(marks.get((_SECTION,), source), path)
        return [Violation(key, f"is missing: sampler: {section.sampler} ends never", "add `trials: ...`")]
    if section.trials % (len(section.seeds) or 1):
        key = key_of(marks[path], path)
        problem = f"{section.trials} trials cannot be shared evenly among {len(section.seeds)} seeds"
        return [Violation(key, problem, f"make it a multiple of {len(section.seeds)}")]
    return []
