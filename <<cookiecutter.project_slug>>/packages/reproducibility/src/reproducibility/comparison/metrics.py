"""A metric's history: every value that a run logged of it, and the first step at which two histories part."""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby, islice
from typing import TYPE_CHECKING

from ..tracking.store import reachable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


_CONNECTIONS = 4  # to a server, which answers one question about one metric at a time


@dataclass(frozen=True)
class History:
    """The values of one metric of one run, by step, those of one step as they were logged: two arrays of one length.

    MLflow keeps one of several equal values that were logged at one step within a millisecond, and puts different
    ones in order of size: within a step neither the order nor the number of equal values means anything.
    """

    steps: array  # of int
    values: array  # of float; NaN is one, infinities are the largest finite numbers

    def __len__(self) -> int:
        return len(self.steps)

    def by_step(self, start: int = 0) -> Iterator[tuple[int, list[float]]]:
        """Yield each step from position *start* on with its different values in order of size, NaN last."""
        pairs = zip(islice(self.steps, start, None), islice(self.values, start, None), strict=True)
        for step, group in groupby(pairs, key=lambda pair: pair[0]):
            found = {value for _, value in group}
            values = sorted(value for value in found if not math.isnan(value))
            yield step, values + [math.nan] * any(map(math.isnan, found))

    def ends_in(self, value: float) -> bool:
        """Whether *value* is one of those at the last step."""
        last = [values for _, values in self.by_step(bisect_left(self.steps, self.steps[-1]))] if self.steps else []
        return any(_among(value, values, 0.0, 0.0) for values in last)


NOTHING = History(array("q"), array("d"))
_END: tuple[float, list[float]] = (math.inf, [])


@dataclass(frozen=True)
class Divergence:
    """The first step at which two histories part, and what each has there that the other has not: nothing if ()."""

    step: int
    a: tuple[float, ...]
    b: tuple[float, ...]


def first_divergence(a: History, b: History, rtol: float = 0.0, atol: float = 0.0) -> Divergence | None:
    """Return where *a* and *b* part, None if they are equal at every step. NaN is equal to itself.

    Two numbers count as equal when they differ by at most *atol*, or by at most *rtol* times the larger of the two;
    by default only when they are the same.
    """
    start = _first_unequal(a, b)
    if start is None:
        return None
    ours, theirs = a.by_step(start), b.by_step(start)
    here, there = next(ours, _END), next(theirs, _END)
    while here is not _END or there is not _END:
        step = min(here[0], there[0])
        at_a = here[1] if here[0] == step else []
        at_b = there[1] if there[0] == step else []
        only_a = tuple(value for value in at_a if not _among(value, at_b, rtol, atol))
        only_b = tuple(value for value in at_b if not _among(value, at_a, rtol, atol))
        if only_a or only_b:
            return Divergence(step, only_a, only_b)
        here = next(ours, _END) if at_a else here
        there = next(theirs, _END) if at_b else there
    return None


def _first_unequal(a: History, b: History) -> int | None:
    """Return where in both arrays the first step begins in which they are not the same to the byte; None if nowhere."""
    if a.steps == b.steps and a.values.tobytes() == b.values.tobytes():  # most are, and this takes no time
        return None
    rows = zip(a.steps, b.steps, a.values, b.values, strict=False)
    shorter = min(len(a), len(b))
    # A NaN is unequal to itself: then the walk begins there, and goes on.
    position = next((at for at, (s, t, v, w) in enumerate(rows) if s != t or v != w), shorter)
    # Back to the first value of the step: one that is longer in the other history counts as a whole.
    steps = [history.steps[position] for history in (a, b) if position < len(history)]
    return bisect_left(a.steps, min(steps, default=0), hi=position)


def _among(value: float, values: list[float], rtol: float, atol: float) -> bool:
    """Tell whether *values*, in order of size and NaN last, have one that counts as equal to *value*."""
    if math.isnan(value):
        return bool(values) and math.isnan(values[-1])
    place = bisect_left(values, value, hi=len(values) - bool(values and math.isnan(values[-1])))
    nearest = values[max(place - 1, 0) : place + 1]
    return any(math.isclose(value, other, rel_tol=rtol, abs_tol=atol) for other in nearest)


def histories(client: "MlflowClient", run: "Run") -> dict[str, History]:
    """Return {metric: its whole history} for every metric that *run* has; raises StoreUnavailable."""
    with reachable(client.tracking_uri):
        if client.tracking_uri.startswith("http"):
            return _from_server(client, run)
        return _from_database(client.tracking_uri, run)


def _from_server(client: "MlflowClient", run: "Run") -> dict[str, History]:
    names = sorted(run.data.metrics)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        answers = pool.map(lambda name: client.get_metric_history(run.info.run_id, name), names)
        found = {}
        for name, metrics in zip(names, answers, strict=True):
            # Sorting keeps the order within a step, which is that of time.
            rows = sorted(((metric.step, metric.value) for metric in metrics), key=lambda row: row[0])
            found[name] = History(array("q", (step for step, _ in rows)), array("d", (value for _, value in rows)))
    return found


def _from_database(uri: str, run: "Run") -> dict[str, History]:
    # The client makes an object of every value, and SQLAlchemy of every row: ten times as long, and three times.
    from mlflow.store.db.utils import create_sqlalchemy_engine
    from mlflow.store.tracking.dbmodels.models import SqlMetric
    from sqlalchemy import bindparam, select

    query = (
        select(SqlMetric.step, SqlMetric.value, SqlMetric.is_nan)
        .where(SqlMetric.run_uuid == run.info.run_id, SqlMetric.key == bindparam("name"))
        .order_by(SqlMetric.step, SqlMetric.timestamp, SqlMetric.value)
    )
    found = {}
    engine = create_sqlalchemy_engine(uri)
    try:
        with engine.connect() as database:
            for name in run.data.metrics:
                rows = database.execute(query, {"name": name}).cursor.fetchall()
                steps, values, nans = zip(*rows, strict=True) if rows else ((), (), ())
                if any(nans):
                    values = [math.nan if nan else value for value, nan in zip(values, nans, strict=True)]
                found[name] = History(array("q", steps), array("d", values))
    finally:
        engine.dispose()
    return found


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


def compare_metrics(
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
