"""The report of a sweep: intervals that are right, and a page in which nothing from elsewhere is markup."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from reproducibility import Config
from reproducibility.sweep.driver import Tally
from reproducibility.sweep.page import page
from reproducibility.sweep.records import Result
from reproducibility.sweep.report import Shown, interval, student_t
from reproducibility.sweep.settings import Settings
from reproducibility.sweep.space import Choice, Dimension, Range
from reproducibility.sweep.study import Combination

HOSTILE = "<script>alert(1)</script>"


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (10, 2.228), (11, 2.201), (30, 2.042), (1000, 1.962)])
def test_the_interval_uses_students_t(freedom: int, quantile: float) -> None:
    assert student_t(freedom) == pytest.approx(quantile, rel=2e-3)


def test_the_interval_is_that_of_the_mean_and_one_value_has_none() -> None:
    assert interval([1.0]) is None
    assert interval([1.0, 1.0]) == 0
    assert interval([1.0, 2.0, 3.0]) == pytest.approx(4.303 / 3**0.5)


def shown(values: Mapping[int, float]) -> Shown:
    """A sweep of which trial number has a value, two seeds for each combination; the other trials failed."""
    dimensions = (
        Dimension(("model", "kind"), Choice((HOSTILE, None))),
        Dimension(("model", "rate"), Range(0.01, 1, None, True, False)),
    )
    settings = Settings(
        file=Path("sweep.yaml"),
        experiment=Path(f"{HOSTILE}.yaml"),
        config=Config(),
        metric=HOSTILE,
        direction="minimize",
        sampler="random",
        seeds=(1, 2),
        seed=1,
        dimensions=dimensions,
        combinations=3,
    )
    results = {
        number: Result(number, f"{number:032x}", values[number])
        if number in values
        else Result(number, None, None, HOSTILE)
        for number in range(6)
    }
    combinations = {
        number: Combination(
            number,
            {"model.kind": (HOSTILE, None)[number % 2], "model.rate": 0.1 * (number + 1)},
            sum(values[each] for each in both) / 2 if values.keys() >= (both := {2 * number, 2 * number + 1}) else None,
        )
        for number in range(3)
    }
    return Shown(settings, "ab" * 16, Tally(settings, results, combinations))


@pytest.mark.parametrize(
    "values",
    [{}, {0: 1.0}, {0: 1.0, 1: 1.0}, {0: 1.0, 1: 3.0, 2: float("nan"), 3: 1.0, 4: 1.8e308, 5: 0.5}],
    ids=["nothing", "half a combination", "all equal", "no numbers"],
)
def test_the_page_shows_whatever_there_is_and_nothing_in_it_is_markup(values: Mapping[int, float]) -> None:
    text = page(shown(values), {"model.kind": 0.75, "model.rate": 0.25} if len(values) > 2 else {})
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 1
    assert f"{len(values)} of 6 trials have a finished run" in text
    assert ("The metric over trials" in text) == (len(values) > 1)
    assert "nan" not in text.replace("nan-", "")


def test_the_best_combination_comes_first_and_numbers_come_before_others() -> None:
    ranked = shown({0: 1.0, 1: 3.0, 2: float("nan"), 3: 1.0, 4: 0.5, 5: 0.5}).ranked()
    assert [each.number for each in ranked] == [2, 0, 1]
