"""The config of a sweep is read strictly: what cannot be swept is refused by file, line and key."""

from pathlib import Path

import pytest
from pydantic import model_validator
from reproducibility import Config, Refused, Section
from reproducibility.sweep.settings import Settings, read_settings
from reproducibility.sweep.space import Choice, Range, grid_of

EXPERIMENT = """\
experiment_name: small
seed: 3
data:
  path: data
model:
  rate: 0.5
  depth: 2
  kind: plain
  layers: [8, 8]
"""
HEAD = """\
extends: experiment.yaml
sweep:
  metric: loss
  direction: minimize
"""


class Data(Section):
    path: str


class Model(Section):
    rate: float
    depth: int | None
    kind: str
    layers: list[int]


class Small(Config):
    experiment_name: str
    seed: int
    data: Data
    model: Model

    @model_validator(mode="after")
    def _fits(self) -> "Small":
        if self.model.kind == "fancy" and self.model.depth is None:
            raise ValueError("a fancy model needs a depth")
        return self


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT, encoding="utf-8")
    return tmp_path


def read(folder: Path, rest: str, head: str = HEAD) -> Settings:
    (folder / "sweep.yaml").write_text(head + rest, encoding="utf-8")
    return read_settings(Path("sweep.yaml"), Small)


def refusals(folder: Path, rest: str, head: str = HEAD) -> list[str]:
    with pytest.raises(Refused) as refused:
        read(folder, rest, head)
    return [f"{each.key}: {each.problem}" for each in refused.value.violations]


def test_a_grid_has_every_combination_in_the_order_of_the_file(folder: Path) -> None:
    space = "  sampler: grid\n  seeds: [1, 2]\n  space:\n    model:\n"
    space += "      depth: [null, 3]\n      rate: {low: 0.25, high: 1, step: 0.25}\n      layers: [[8], [4, 4]]\n"
    settings = read(folder, space)
    assert (settings.combinations, settings.trials) == (16, 32)
    first, *_, last = grid_of(settings.dimensions)
    assert first == {"model.depth": None, "model.rate": 0.25, "model.layers": [8]}
    assert last == {"model.depth": 3, "model.rate": 1.0, "model.layers": [4, 4]}


def test_the_type_of_the_key_says_whether_a_range_has_fractions(folder: Path) -> None:
    space = "  sampler: tpe\n  trials: 6\n  seeds: [1, 2]\n  space:\n    model:\n"
    space += "      depth: {low: 1, high: 8}\n      rate: {low: 1, high: 2, log: true}\n      kind: [a, b]\n"
    settings = read(folder, space)
    assert [each.domain for each in settings.dimensions] == [
        Range(1, 8, None, False, True),
        Range(1, 2, None, True, False),
        Choice(("a", "b")),
    ]
    assert (settings.combinations, settings.trials) == (3, 6)


def test_a_value_that_fits_only_with_other_values_of_the_space_is_no_mistake(folder: Path) -> None:
    (folder / "experiment.yaml").write_text(EXPERIMENT.replace("depth: 2", "depth: null"), encoding="utf-8")
    assert read(folder, GRID + "      kind: [plain, fancy]\n      depth: [null, 2]\n").combinations == 4


GRID = "  sampler: grid\n  space:\n    model:\n"


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (GRID + "      rte: [1, 2]\n", "sweep.yaml:8: sweep.space.model.rte: unknown key; did you mean"),
        (GRID + "      depth: [1, 2.5]\n", "sweep.yaml:8: sweep.space.model.depth: input should be a valid integer"),
        (GRID + "      kind: [a, 1]\n", "sweep.yaml:8: sweep.space.model.kind: input should be a valid string"),
        (GRID + "      depth: []\n", "sweep.yaml:8: sweep.space.model.depth: has no values"),
        (GRID + "      depth: [1, 1]\n", "sweep.yaml:8: sweep.space.model.depth[1]: stands in the list already"),
        (GRID + "      depth: 3\n", "sweep.yaml:8: sweep.space.model.depth: expected a list of values or a range"),
        (
            GRID + "      depth: {low: 0.5, high: 3}\n",
            "sweep.yaml:8: sweep.space.model.depth: input should be a valid int",
        ),
        (
            GRID + "      kind: {low: 1, high: 3}\n",
            "sweep.yaml:8: sweep.space.model.kind: input should be a valid string",
        ),
        (GRID + "      rate: {low: 2, high: 1}\n", "sweep.yaml:8: sweep.space.model.rate.high: is not above low"),
        (GRID + "      rate: {low: 1, high: 2}\n", "sweep.yaml:8: sweep.space.model.rate: a grid needs to know"),
        (GRID + "      rate: {low: a, high: 2}\n", "sweep.yaml:8: sweep.space.model.rate.low: is not a number"),
        (GRID + "      rate: {low: 1}\n", "sweep.yaml:8: sweep.space.model.rate: the range has no high"),
        (
            GRID + "      rate: {low: 1, high: 2, by: 1}\n",
            "sweep.yaml:8: sweep.space.model.rate.by: unknown key of a range",
        ),
        (GRID + "      rate: {low: 1, high: 9e9, step: 1e-9}\n", "sweep.yaml:6: sweep.space: the grid has"),
        ("  sampler: grid\n  space: {}\n", "sweep.yaml:6: sweep.space: the space is empty"),
        ("  sampler: random\n  space: {seed: [1]}\n", "sweep.yaml:2: sweep.trials: is missing"),
        (
            "  sampler: grid\n  trials: 3\n  space: {seed: [1]}\n",
            "sweep.yaml:6: sweep.trials: a grid has as many trials",
        ),
        (
            "  sampler: tpe\n  trials: 3\n  seeds: [1, 2]\n  space: {model: {depth: [1]}}\n",
            "sweep.yaml:6: sweep.trials: 3 tr",
        ),
        (
            "  sampler: grid\n  seeds: [1, 1]\n  space: {model: {depth: [1]}}\n",
            "sweep.yaml:6: sweep.seeds[1]: stands in",
        ),
        (
            "  sampler: grid\n  seeds: [1]\n  space: {seed: [1]}\n",
            "sweep.yaml:6: sweep.seeds: the space has the seed too",
        ),
        (
            "  sampler: best\n  space: {seed: [1]}\n",
            "sweep.yaml:5: sweep.sampler: input should be 'grid', 'random' or 'tpe'",
        ),
        ("  sampler: grid\n  space: {seed: [1]}\n  pruner: x\n", "sweep.yaml:7: sweep.pruner: unknown key"),
        (
            "  sampler: grid\n  space: {seed: {a: [1]}}\n",
            "sweep.yaml:6: sweep.space.seed: input should be a valid integer",
        ),
        ("  sampler: grid\n  space: {other: {a: [1]}}\n", "sweep.yaml:6: sweep.space.other: unknown key"),
        ("  sampler: grid\n  space: {policy: [1]}\n", "sweep.yaml:6: sweep.space.policy: unknown key"),
        ("  sampler: grid\n  space: {seed: [1]}\nseed: 4\n", "sweep.yaml:7: seed: belongs to the experiment"),
    ],
)
def test_what_cannot_be_swept_is_refused_by_file_line_and_key(folder: Path, rest: str, said: str) -> None:
    found = refusals(folder, rest)
    assert len(found) == (2 if "kind: {low" in rest else 1)  # both bounds are no text
    assert found[0].startswith(said), found


def test_everything_that_is_wrong_is_said_at_once(folder: Path) -> None:
    rest = "  sampler: tpe\n  trials: 3\n  seeds: [1, 2]\n  space:\n    model:\n      depth: []\n      rte: [1]\n"
    assert len(refusals(folder, rest)) == 3


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("extends: experiment.yaml\n", "sweep.yaml: it describes no sweep"),
        ("sweep:\n  metric: loss\n", "sweep.yaml: it does not say which experiment"),
        (
            "extends: other.yaml\nsweep:\n  metric: loss\n  direction: maximize\n  sampler: grid\n  space: {}\n",
            "sweep.yaml:1: ext",
        ),
        ("extends: experiment.yaml\nsweep: 3\n", "sweep.yaml:2: sweep: input should be"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(folder: Path, head: str, said: str) -> None:
    assert refusals(folder, "", head)[0].startswith(said)
