"""Metrics: every value that a run logged, by step, and the first step at which the histories of two runs differ."""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING

from ..policy import EXACT, Tolerance
from ..tracking.store import reachable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


_CONNECTIONS = 4  # to a server: one request returns the history of one metric


@dataclass(frozen=True)
class History:
    """The values of one metric of one run, in order of the steps: two arrays of one length.

    MLflow sorts values that were logged at one step within one millisecond, and keeps one of those that are equal. So
    the order of the values of one step means nothing, and neither does how often a value occurs there.
    """

    steps: array  # of int
    values: array  # of float; MLflow stores infinity as the largest finite number

    def __len__(self) -> int:
        return len(self.steps)

    def by_step(self, start: int = 0) -> Iterator[tuple[int, list[float]]]:
        """Yield each step from position *start* on, with its distinct values in order of size, NaN last."""
        pairs = zip(islice(self.steps, start, None), islice(self.values, start, None), strict=True)
        for step, group in groupby(pairs, key=lambda pair: pair[0]):
            found = {value for _, value in group}
            values = sorted(value for value in found if not math.isnan(value))
            yield step, values + [math.nan] * any(map(math.isnan, found))

    def ends_in(self, value: float) -> bool:
        """Tell whether *value* is one of the values of the last step."""
        last = [values for _, values in self.by_step(bisect_left(self.steps, self.steps[-1]))] if self.steps else []
        return any(_has_match(value, values, EXACT) for values in last)


EMPTY = History(array("q"), array("d"))
_END: tuple[float, list[float]] = (math.inf, [])


@dataclass(frozen=True)
class Divergence:
    """The first step at which two histories differ, and the values there that match none of the other history."""

    step: int
    a: tuple[float, ...]
    b: tuple[float, ...]


def first_divergence(a: History, b: History, tolerance: Tolerance = EXACT) -> Divergence | None:
    """Return the first step at which *a* and *b* do not match; None if all steps match. NaN matches NaN."""
    start = _first_unequal(a, b)
    if start is None:
        return None
    ours, theirs = a.by_step(start), b.by_step(start)
    here, there = next(ours, _END), next(theirs, _END)
    while here is not _END or there is not _END:
        step = min(here[0], there[0])
        at_a = here[1] if here[0] == step else []
        at_b = there[1] if there[0] == step else []
        only_a = tuple(value for value in at_a if not _has_match(value, at_b, tolerance))
        only_b = tuple(value for value in at_b if not _has_match(value, at_a, tolerance))
        if only_a or only_b:
            return Divergence(step, only_a, only_b)
        here = next(ours, _END) if at_a else here
        there = next(theirs, _END) if at_b else there
    return None


def _first_unequal(a: History, b: History) -> int | None:
    """Return the position in both arrays where the first step begins that may differ; None if all bytes are equal."""
    if a is b or (a.steps == b.steps and a.values.tobytes() == b.values.tobytes()):  # most are, and this is fast
        return None
    rows = zip(a.steps, b.steps, a.values, b.values, strict=False)
    shorter = min(len(a), len(b))
    # NaN is unequal to itself. The comparison of the steps begins there then, and finds that NaN matches NaN.
    position = next((at for at, (s, t, v, w) in enumerate(rows) if s != t or v != w), shorter)
    # Back to the first value of the step: the values of one step are compared as a whole.
    steps = [history.steps[position] for history in (a, b) if position < len(history)]
    return bisect_left(a.steps, min(steps, default=0), hi=position)


def _has_match(value: float, values: list[float], tolerance: Tolerance) -> bool:
    """Tell whether one of *values*, in order of size and NaN last, matches *value*."""
    if math.isnan(value):
        return bool(values) and math.isnan(values[-1])
    place = bisect_left(values, value, hi=len(values) - bool(values and math.isnan(values[-1])))
    return any(tolerance.match(value, nearest) for nearest in values[max(place - 1, 0) : place + 1])


def histories(client: "MlflowClient", a: "Run", b: "Run") -> tuple[dict[str, History], dict[str, History]]:
    """Return the whole history of each metric of both runs, by name; raises StoreUnavailable."""
    with reachable(client.tracking_uri):
        if client.tracking_uri.startswith("http"):
            return _from_server(client, a), _from_server(client, b)
        return _from_database(client.tracking_uri, a, b)


def _from_server(client: "MlflowClient", run: "Run") -> dict[str, History]:
    names = sorted(run.data.metrics)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        answers = pool.map(lambda name: client.get_metric_history(run.info.run_id, name), names)
        found = {}
        for name, metrics in zip(names, answers, strict=True):
            # A stable sort: within a step, the values stay in order of time.
            rows = sorted(((metric.step, metric.value) for metric in metrics), key=lambda row: row[0])
            found[name] = History(array("q", (step for step, _ in rows)), array("d", (value for _, value in rows)))
    return found


def _from_database(uri: str, a: "Run", b: "Run") -> tuple[dict[str, History], dict[str, History]]:
    # MLflow's client makes an object of every value and takes ten times as long; SQLAlchemy's rows take three times.
    from mlflow.store.db.utils import create_sqlalchemy_engine
    from mlflow.store.tracking.dbmodels.models import SqlMetric
    from sqlalchemy import bindparam, select

    # In the order of MLflow's index, so that the database sorts nothing.
    query = (
        select(SqlMetric.step, SqlMetric.value, SqlMetric.is_nan)
        .where(SqlMetric.run_uuid == bindparam("run_id"), SqlMetric.key == bindparam("name"))
        .order_by(SqlMetric.step)
    )
    found: tuple[dict[str, History], dict[str, History]] = ({}, {})
    engine = create_sqlalchemy_engine(uri)
    try:
        with engine.connect() as database:

            def rows(run: "Run", name: str) -> list[tuple[int, float, bool]]:
                return database.execute(query, {"run_id": run.info.run_id, "name": name}).cursor.fetchall()

            for name in a.data.metrics:
                ours = rows(a, name)
                found[0][name] = _history(ours)
                if name in b.data.metrics:
                    theirs = rows(b, name)
                    # Most histories are the same. Then the second is neither made nor compared once more.
                    found[1][name] = found[0][name] if ours == theirs else _history(theirs)
            for name in b.data.metrics.keys() - a.data.metrics.keys():
                found[1][name] = _history(rows(b, name))
    finally:
        engine.dispose()
    return found


def _history(rows: list[tuple[int, float, bool]]) -> History:
    """Return the history in *rows* of the database: step, value, and whether the value is NaN."""
    steps, values, nans = zip(*rows, strict=True) if rows else ((), (), ())
    if any(nans):
        values = [math.nan if nan else value for value, nan in zip(values, nans, strict=True)]
    return History(array("q", steps), array("d", values))


# MLflow stores infinity as the largest finite number, and no difference from it is a number.
_HUGE = 1e308


@dataclass(frozen=True)
class MetricComparison:
    """One metric of two runs: the final value of each, None where a run has none, and both histories.

    divergence: the first step at which the histories differ at all; None if all steps that were compared are equal.
    so_far: steps of one run were left out, because the other run did not finish.
    """

    name: str
    a: float | None
    b: float | None
    histories: tuple[History, History]
    divergence: Divergence | None
    so_far: bool = False

    @property
    def is_one_sided(self) -> bool:
        """Whether only one run has logged the metric so far; the other run did not finish."""
        return self.divergence is None and 0 in map(len, self.histories)

    @property
    def delta(self) -> float | None:
        """The final value of the second run less that of the first; None where the difference is no number."""
        if self.a is None or self.b is None or max(abs(self.a), abs(self.b)) > _HUGE:
            return None
        return None if math.isnan(self.b - self.a) else self.b - self.a

    @property
    def distance(self) -> float:
        """A number to sort by: how far the two are apart, from 0 (equal at every step) to 3 (only one run has it)."""
        if self.divergence is None:
            return 0
        if self.a is None or self.b is None:
            return 3
        if self.delta is None:
            return 2
        # Between 0 and 1: the ratio of the difference to the larger of the two.
        return abs(self.delta) / (2 * max(abs(self.a), abs(self.b)) or 1)


def compare_metrics(
    finals: tuple[Mapping[str, float], Mapping[str, float]],
    histories: tuple[Mapping[str, History], Mapping[str, History]],
    tolerance: Tolerance,
    finished: tuple[bool, bool] = (True, True),
) -> Iterator[MetricComparison]:
    """Compare the metrics of two runs that *tolerance* does not leave out, in order of their names.

    Steps that an unfinished run (*finished*) has not reached are no difference: steps of the other run after the last
    step of this one are left out, and so is the history of a metric that this run does not have.
    """
    for name in filter(tolerance.compares, sorted(histories[0].keys() | histories[1].keys())):
        both = (histories[0].get(name, EMPTY), histories[1].get(name, EMPTY))
        a = both[0] if finished[1] else _up_to(both[1], both[0])
        b = both[1] if finished[0] else _up_to(both[0], both[1])
        so_far = len(a) < len(both[0]) or len(b) < len(both[1])
        yield MetricComparison(name, finals[0].get(name), finals[1].get(name), both, first_divergence(a, b), so_far)


def _up_to(shorter: History, longer: History) -> History:
    """Return *longer* without the steps after the last step of *shorter*."""
    last = shorter.steps[-1] if len(shorter) else -math.inf
    count = bisect_right(longer.steps, last)
    return History(longer.steps[:count], longer.values[:count])
