"""Metric histories: where two of them part, to the byte and within a tolerance."""

import math
from collections.abc import Callable

import pytest
from machinery import Machinery

NAN = math.nan
Points = list[tuple[int, float]]

# Two histories, (rtol, atol), and where they part: (step, what only the first has there, what only the second has).
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
MAKE = """
from array import array
def history(points):
    return metric_history.History(array("q", [step for step, _ in points]), array("d", [value for _, value in points]))
def parted(a, b, tolerance, _):
    there = metric_history.first_divergence(history(a), history(b), *tolerance)
    return there and (there.step, there.a, there.b)
"""


@pytest.fixture(scope="module")
def parted(run_in: Callable, project) -> dict[str, list]:
    """What `first_divergence` answers in each case, and with the two sides exchanged: {case: [answer, answer]}."""
    both_ways = "{name: [parted(*case), parted(case[1], case[0], *case[2:])] for name, case in cases.items()}"
    return Machinery(run_in, project)(both_ways, before=MAKE, values={"cases": CASES})


@pytest.mark.parametrize("name", CASES)
def test_two_histories_part_at_the_first_step_that_differs(parted: dict[str, list], name: str) -> None:
    expected = CASES[name][3]
    forward, backward = parted[name]
    assert repr(forward) == repr(list(expected) if expected else None)
    assert repr(backward) == repr([expected[0], expected[2], expected[1]] if expected else None)
