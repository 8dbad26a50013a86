"""The report of a sweep: its progress while it runs, and the table of the best combinations at its end."""

import math
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ..display import emit, one_line
from .driver import Tally
from .settings import Settings
from .space import written
from .study import Combination

if TYPE_CHECKING:
    from rich.console import Console

_MOST_ROWS = 10
_MOST_REASONS = 5


@dataclass
class Shown:
    """What there is to show of a sweep. tally: how far it came; None if no trial was begun."""

    settings: Settings
    sweep: str
    tally: Tally | None = None

    def ranked(self) -> list[Combination]:
        """Return the combinations that have a value, the best first; those whose value is no number come last."""
        known = [each for each in self.tally.combinations.values() if each.value is not None]
        numbers = [each for each in known if not math.isnan(each.value)]
        numbers.sort(key=lambda each: each.value, reverse=self.settings.maximizes)
        return numbers + [each for each in known if math.isnan(each.value)]

    def values(self, combination: Combination) -> list[float]:
        """Return the metric of each trial of *combination* that has finished."""
        return [each.value for each in self.tally.of(combination.number) if each.is_finished]


def interval(values: list[float]) -> float | None:
    """Return the half width of the 95 % confidence interval of the mean, by Student's t; None for fewer than two."""
    if len(values) < 2:
        return None
    return student_t(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def student_t(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t with *freedom* degrees of freedom: at most 0.5 % off."""
    exact = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
    if freedom <= len(exact):
        return exact[freedom - 1]
    normal = 1.959964  # Cornish and Fisher's expansion around the normal quantile
    return (
        normal
        + (normal**3 + normal) / (4 * freedom)
        + (5 * normal**5 + 16 * normal**3 + 3 * normal) / (96 * freedom**2)
    )


@contextmanager
def progress(settings: Settings) -> Iterator[Callable[[Tally], None]]:
    """Inside, the function that is yielded shows how far the sweep is: a bar at a terminal, else a line for each trial.

    Both go to standard error.
    """
    is_terminal = sys.stderr.isatty()
    bar = click.progressbar(
        length=settings.trials,
        label=f"{settings.trials} trials",
        show_pos=True,
        show_eta=True,
        item_show_func=lambda text: text,
        file=sys.stderr,
        hidden=not is_terminal,
    )

    def draw(tally: Tally) -> None:
        if is_terminal:
            bar.update(len(tally.results) - bar.pos, _so_far(tally))
        elif tally.last is not None:
            click.echo(f"trial {tally.last}: {_of_one(tally)} ({_so_far(tally)})", err=True)

    with bar:
        yield draw


def _of_one(tally: Tally) -> str:
    result = tally.results[tally.last]
    return f"{tally.settings.metric} {result.value:.6g}" if result.is_finished else f"no result: {result.reason}"


def _so_far(tally: Tally) -> str:
    parts = [f"{len(tally.results)} of {tally.settings.trials}"]
    if tally.best is not None:
        parts.append(f"best {tally.best.value:.6g}")
    if tally.failures:
        reason, count = tally.failures.most_common(1)[0]
        parts.append(f"{tally.failures.total()} failed, {count} with: {one_line(reason)}")
    return ", ".join(parts)


def show(shown: Shown, as_json: bool) -> None:
    """Print the results: a table of the best combinations for people, or everything as one JSON object."""
    emit(as_json, lambda: _data(shown), lambda console: _draw(console, shown))


def _data(shown: Shown) -> dict[str, Any]:
    tally = shown.tally
    return {
        "sweep": shown.sweep,
        "metric": shown.settings.metric,
        "direction": shown.settings.direction,
        "trials": shown.settings.trials,
        "finished": tally.finished,
        "holds": tally.finished == shown.settings.trials,
        "failures": dict(tally.failures),
        "combinations": [
            {
                "values": dict(each.values),
                "mean": each.value,
                "interval": interval(shown.values(each)),
                "trials": [
                    {"trial": one.number, "run_id": one.run_id, "value": one.value} for one in tally.of(each.number)
                ],
            }
            for each in shown.ranked()
        ],
    }


def _draw(console: "Console", shown: Shown) -> None:
    from rich.table import Table

    settings, tally = shown.settings, shown.tally
    ranked = shown.ranked()
    has_seeds = settings.trials_of_each > 1
    table = Table(settings.metric, *(["± 95 %"] if has_seeds else []), *(each.name for each in settings.dimensions))
    for column in table.columns:
        column.overflow = "fold"
    table.add_column("runs" if has_seeds else "run", no_wrap=True)
    for each in ranked[:_MOST_ROWS]:
        spread = interval(shown.values(each))
        cells = [f"{each.value:.6g}", *([f"{spread:.2g}" if spread is not None else ""] if has_seeds else [])]
        cells += [shown_value(each.values[dimension.name]) for dimension in settings.dimensions]
        table.add_row(*cells, " ".join(one.run_id[:8] for one in tally.of(each.number)[:3]))
    if ranked:
        console.print(table)
        if len(ranked) > _MOST_ROWS:
            console.print(f"and {len(ranked) - _MOST_ROWS} more combinations")
    for reason, count in tally.failures.most_common(_MOST_REASONS):
        console.print(f"{count} without a finished run: {reason}", soft_wrap=True)
    console.print(f"{tally.finished} of {settings.trials} trials have a finished run.")
    if len(ranked) > 1 and (doubt := _doubt(shown, ranked)):
        console.print(doubt, soft_wrap=True)


def shown_value(value: object) -> str:
    """Return *value* of a key as people read it."""
    return f"{value:.6g}" if isinstance(value, float) else one_line(written(value))


def _doubt(shown: Shown, ranked: list[Combination]) -> str | None:
    """Return a warning if the best combination may be no better than the second."""
    spreads = [interval(shown.values(each)) for each in ranked[:2]]
    if None in spreads or abs(ranked[0].value - ranked[1].value) > max(spreads):
        return None
    return "The best combination is not clearly better than the second: their difference is within the interval."
