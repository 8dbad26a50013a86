"""A metric difference: one metric of two runs, its final values and where its whole history parts."""

import math
from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .metric_history import NOTHING, Divergence, History, first_divergence

# The largest finite number stands for infinity in MLflow, and no difference from it is a number.
_HUGE = 1e308


@dataclass(frozen=True)
class MetricDifference:
    """One metric: on each side its final value, None where the run has none, and its history.

    parting: the first step at which the two part; None if they are equal at every step that both can have.
    so_far: whether steps were left out that only one run had, because the other did not reach its end.
    """

    name: str
    a: float | None
    b: float | None
    histories: tuple[History, History]
    parting: Divergence | None
    so_far: bool = False

    @property
    def delta(self) -> float | None:
        """The second final value less the first; None where that is no number."""
        if self.a is None or self.b is None or max(abs(self.a), abs(self.b)) > _HUGE:
            return None
        return None if math.isnan(self.b - self.a) else self.b - self.a

    @property
    def distance(self) -> float:
        """How far the two are apart for an order, from 0 (equal at every step) to 3 (only one run has it)."""
        if self.parting is None:
            return 0
        if self.a is None or self.b is None:
            return 3
        if self.delta is None:
            return 2
        # Between 0 and 1, by the ratio of the difference to the larger of the two.
        return abs(self.delta) / (2 * max(abs(self.a), abs(self.b)) or 1)


def compare(
    finals: tuple[Mapping[str, float], Mapping[str, float]],
    histories: tuple[Mapping[str, History], Mapping[str, History]],
    ended: tuple[bool, bool],
    not_compared: Collection[str],
) -> tuple[MetricDifference, ...]:
    """Compare the metrics of two runs; those that differ most come first, then by name.

    Of a run that did not reach its end (*ended*) no more is expected than it has: steps of the other run beyond its
    last one, and metrics that it does not have, are no difference. Metrics whose name has a pattern of *not_compared*
    are left out.
    """
    found = []
    for name in histories[0].keys() | histories[1].keys():
        if any(fnmatchcase(name, pattern) for pattern in not_compared):
            continue
        both = (histories[0].get(name, NOTHING), histories[1].get(name, NOTHING))
        a = both[0] if ended[1] else _up_to(both[1], both[0])
        b = both[1] if ended[0] else _up_to(both[0], both[1])
        so_far = len(a) < len(both[0]) or len(b) < len(both[1])
        parting = first_divergence(a, b)
        found.append(MetricDifference(name, finals[0].get(name), finals[1].get(name), both, parting, so_far))
    return tuple(sorted(found, key=lambda metric: (-metric.distance, metric.name)))


def _up_to(shorter: History, longer: History) -> History:
    """Return *longer* without what comes after the last step of *shorter*."""
    last = shorter.steps[-1] if len(shorter) else -math.inf
    count = bisect_right(longer.steps, last)
    return History(longer.steps[:count], longer.values[:count])
