"""A plot: the metrics in which two runs differ most, step by step, as small charts in one picture."""

import math
from typing import TYPE_CHECKING

import click

from . import chart
from .difference import Difference
from .difference_table import describe, parting
from .place import one_line
from .violation import Refused, Violation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .metric_difference import MetricDifference

# Blue and vermilion, which everybody can tell apart, and a thick line under a thin one for where they are equal.
_LOOKS = (
    {"color": "#0072b2", "linewidth": 3.5, "alpha": 0.55, "markersize": 9},
    {"color": "#d55e00", "linewidth": 1.3, "alpha": 1.0, "markersize": 5},
)
_COLUMNS = 3
_NAME = 40  # characters over a chart


def draw(found: Difference, file: str) -> None:
    """Draw at most twelve charts to *file*, in the format of its name's ending; raises Refused when that cannot be."""
    metrics = chart.drawn(found.metrics)
    if not metrics:
        click.echo(f"{file} was not drawn: neither run has a metric", err=True)
        return
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        fix = "add matplotlib to pyproject.toml, then `nox -s lock`; or use --html, which needs nothing"
        raise Refused([Violation("--plot", "matplotlib is not installed", fix)]) from None

    columns = min(_COLUMNS, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    figure = Figure(figsize=(4.6 * columns, 2.9 * rows + 0.8), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)  # draws without a display
    for place, metric in enumerate(metrics, 1):
        _chart(figure.add_subplot(rows, columns, place), metric)
    names = []
    for side, testimony in (("A", found.a), ("B", found.b)):
        run = describe(testimony)
        names.append(f"{side}  {one_line(run['name'] or '', _NAME)}  {run['run_id'][:8]}")
    lines = [figure.axes[0].plot([], [], **look)[0] for look in _LOOKS]
    legend = figure.legend(
        lines, names, loc="outside upper left", frameon=False, ncols=len(names) if columns > 1 else 1
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        problem = f"{file} cannot be written ({getattr(error, 'strerror', None) or error})"
        raise Refused(
            [Violation("--plot", problem, "name a .png, .svg or .pdf file in a folder that is there")]
        ) from None


def _chart(axes: "Axes", metric: "MetricDifference") -> None:
    series = [chart.thinned(history) for history in metric.histories]
    for points, look in zip(series, _LOOKS, strict=True):
        alone = sum(not math.isnan(value) for _, value in points) == 1
        axes.plot(*zip(*points, strict=True), **look, marker="o" if alone else "") if points else None
    # A name is a name: a $ in it begins no formula.
    axes.set_title(one_line(metric.name, _NAME), fontsize=10, loc="left", parse_math=False)
    steps = {step for points in series for step, _ in points}
    if len(steps) == 1:
        axes.set_xticks([*steps])
    else:
        axes.xaxis.get_major_locator().set_params(integer=True)
    if metric.parting and len(steps) > 1:
        axes.axvline(metric.parting.step, color="#888", linewidth=0.8, linestyle=":")
    where = parting(metric)
    told = f"step; differs {where}" if where.startswith("from") else f"step; {where}"
    axes.set_xlabel(told, fontsize=8, color="#555")
    axes.tick_params(labelsize=8)
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
