"""Metric histories: the first step at which two of them differ, to the bit and within a tolerance."""

import math
from array import array

import pytest
from reproducibility.comparison.metrics import History, compare_metrics, first_divergence
from reproducibility.policy import EXACT, Tolerance

NAN = math.nan
Points = list[tuple[int, float]]

# Two histories, (rtol, atol), and where they differ: (step, what only the first has there, what only the second has).
CASES: dict[str, tuple[Points, Points, tuple[float, float], tuple[int, list[float], list[float]] | None]] = {
    "nothing on both sides": ([], [], (0, 0), None),
    "the same": ([(0, 1.0), (1, 2.0)], [(0, 1.0), (1, 2.0)], (0, 0), None),
    "the last bit of a number": ([(0, 1.0), (1, 0.3)], [(0, 1.0), (1, 0.1 + 0.2)], (0, 0), (1, [0.3], [0.1 + 0.2])),
    "both NaN": ([(0, NAN), (1, 2.0)], [(0, NAN), (1, 2.0)], (0, 0), None),
    "NaN on one side": ([(0, NAN)], [(0, 0.0)], (0, 0), (0, [NAN], [0.0])),
    "NaN beside a number": ([(0, NAN), (0, 1.0)], [(0, 1.0)], (0, 0), (0, [NAN], [])),
    "NaN is not near anything": ([(0, NAN)], [(0, 0.0)], (0.5, 10), (0, [NAN], [0.0])),
    "zero and minus zero": ([(0, 0.0)], [(0, -0.0)], (0, 0), None),
    "one is longer": ([(0, 1.0)], [(0, 1.0), (5, 2.0)], (0, 0), (5, [], [2.0])),
    "one is empty": ([(3, 1.0)], [], (0, 0), (3, [1.0], [])),
    "a step left out": ([(0, 1.0), (1, 1.0), (2, 1.0)], [(0, 1.0), (2, 1.0)], (0, 0), (1, [1.0], [])),
    "a negative step": ([(-5, 1.0), (0, 1.0)], [(-5, 2.0), (0, 1.0)], (0, 0), (-5, [1.0], [2.0])),
    # within one millisecond MLflow keeps neither the order nor the repetitions of a step's values
    "another order in a step": ([(0, 1.0), (0, 2.0), (1, 3.0)], [(0, 2.0), (0, 1.0), (1, 3.0)], (0, 0), None),
    "a value repeated in a step": ([(0, 1.0), (0, 1.0), (1, 3.0)], [(0, 1.0), (1, 3.0)], (0, 0), None),
    "one more value in a step": ([(0, 1.0), (1, 2.0), (1, 3.0)], [(0, 1.0), (1, 2.0)], (0, 0), (1, [3.0], [])),
    "another value in the middle of a step": (
        [(0, 1.0), (0, 2.0), (0, 3.0)],
        [(0, 1.0), (0, 2.5), (0, 3.0)],
        (0, 0),
        (0, [2.0], [2.5]),
    ),
    "within the relative tolerance": ([(0, 100.0), (1, -100.0)], [(0, 100.9), (1, -100.9)], (0.01, 0), None),
    "outside the relative tolerance": ([(0, 100.0)], [(0, 102.0)], (0.01, 0), (0, [100.0], [102.0])),
    "within the absolute tolerance": ([(0, 0.0)], [(0, 1e-9)], (0, 1e-8), None),
    "outside only later": ([(0, 0.0), (1, 1.0)], [(0, 1e-9), (1, 1.1)], (0, 1e-8), (1, [1.0], [1.1])),
    "each near another one": ([(0, 1.0), (0, 2.0)], [(0, 1.001), (0, 1.999), (0, 2.001)], (0, 0.01), None),
    "one near none": ([(0, 1.0), (0, 2.0)], [(0, 1.001), (0, 1.5)], (0, 0.01), (0, [2.0], [1.5])),
}


def history(*points: tuple[int, float]) -> History:
    return History(array("q", [step for step, _ in points]), array("d", [value for _, value in points]))


@pytest.mark.parametrize("name", CASES)
def test_two_histories_differ_from_the_first_step_that_does_not_match(name: str) -> None:
    a, b, (rtol, atol), expected = CASES[name]
    tolerance = Tolerance(rtol=rtol, atol=atol, not_compared=())
    for one, other, found in ((a, b, expected), (b, a, expected and (expected[0], expected[2], expected[1]))):
        there = first_divergence(history(*one), history(*other), tolerance)
        assert repr(there and (there.step, list(there.a), list(there.b))) == repr(found)


def test_a_final_value_that_is_not_the_last_of_its_history_is_seen() -> None:
    assert history((0, 1.0), (3, 2.0), (3, NAN)).ends_in(2.0)
    assert history((0, 1.0), (3, 2.0), (3, NAN)).ends_in(NAN)
    assert not history((0, 1.0), (3, 2.0)).ends_in(1.0)
    assert not history().ends_in(1.0)


def test_metrics_are_paired_by_name_and_without_those_that_the_policy_does_not_compare() -> None:
    histories = (
        {"loss": history((0, 1.0)), "system/cpu": history((0, 1.0))},
        {"loss": history((0, 2.0)), "acc": history()},
    )
    tolerance = Tolerance(rtol=0, atol=0, not_compared=("system/*",))
    acc, loss = compare_metrics(({"loss": 1.0}, {"loss": 2.0}), histories, tolerance)
    assert (acc.name, acc.a, acc.b, acc.divergence, acc.distance) == ("acc", None, None, None, 0)
    assert (loss.a, loss.b, loss.delta, loss.distance) == (1.0, 2.0, 1.0, 0.25)


@pytest.mark.parametrize(
    ("finished", "differs", "so_far"),
    [
        ((True, True), True, False),
        ((True, False), False, True),
        ((False, True), True, False),
        ((False, False), False, True),
    ],
)
def test_of_a_run_that_did_not_finish_no_more_steps_are_expected(
    finished: tuple[bool, bool], differs: bool, so_far: bool
) -> None:
    """The second run stopped after step 1."""
    long, short = history((0, 1.0), (1, 1.0), (2, 1.0)), history((0, 1.0), (1, 1.0))
    (loss,) = compare_metrics(({"loss": 1.0}, {"loss": 1.0}), ({"loss": long}, {"loss": short}), EXACT, finished)
    assert (loss.divergence is not None, loss.so_far) == (differs, so_far)


@pytest.mark.parametrize(
    ("a", "b", "delta", "distance"),
    [
        (1.0, None, None, 3),
        (NAN, 1.0, None, 2),
        (1.7e308, 0.0, None, 2),
        (-1.0, 1.0, 2.0, 1),
        (0.0, 0.0, 0.0, 0),
    ],
)
def test_what_differs_most_has_the_largest_distance(a, b, delta, distance) -> None:
    sides = [{} if value is None else {"loss": value} for value in (a, b)]
    differing = ({"loss": history((0, 1.0))}, {"loss": history((0, 2.0))})
    (loss,) = compare_metrics(tuple(sides), differing, EXACT)
    assert (loss.delta, loss.distance) == (delta, distance)


@pytest.mark.parametrize(
    ("a", "b", "matches"),
    [(NAN, NAN, True), (NAN, 1.0, False), (1.0, 1.05, True), (1.0, 1.2, False), (0.0, 0.01, True), (0.0, -0.1, False)],
)
def test_two_values_match_within_the_tolerance_of_the_policy(a: float, b: float, matches: bool) -> None:
    tolerance = Tolerance(rtol=0.1, atol=0.02, not_compared=("system/*", "time_*"))
    assert tolerance.match(a, b) is tolerance.match(b, a) is matches
    assert not EXACT.match(1.0, math.nextafter(1.0, 2))
    assert [name for name in ("loss", "system/cpu", "time_s", "a/system/x") if tolerance.compares(name)] == [
        "loss",
        "a/system/x",
    ]
