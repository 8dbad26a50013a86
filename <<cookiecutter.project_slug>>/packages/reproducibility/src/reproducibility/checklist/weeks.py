"""The share of the finished runs that comply, week by week: how far a project is on its way to a strict policy."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN = 8


@dataclass(frozen=True)
class Week:
    """A week of ISO 8601, in UTC, such as ``2026-W48``: how many of its runs finished, and how many of them comply."""

    week: str
    finished: int
    comply: int


def week_of(start_time: int) -> str:
    """Return the week of a time that MLflow gives in milliseconds."""
    year, week, _ = datetime.fromtimestamp(start_time / 1000, UTC).isocalendar()
    return f"{year}-W{week:02}"


def weeks(runs: Iterable[tuple[str, bool]]) -> tuple[Week, ...]:
    """Count finished runs, given as (week, whether it complies); the oldest week comes first."""
    found: dict[str, list[bool]] = {}
    for week, complies in runs:
        found.setdefault(week, []).append(complies)
    return tuple(Week(week, len(each), sum(each)) for week, each in sorted(found.items()))


def draw(console: "Console", found: tuple[Week, ...]) -> None:
    """Print the last weeks, unless every run complies."""
    from rich.table import Table

    if all(week.comply == week.finished for week in found):
        return
    table = Table("week", "finished runs", "comply", "share")
    for week in found[-_SHOWN:]:
        table.add_row(week.week, str(week.finished), str(week.comply), f"{week.comply / week.finished:.0%}")
    console.print(table)
