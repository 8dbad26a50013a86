"""A chart: one metric of two runs over its steps, thinned to what an eye can see, and drawn as SVG."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from .metric_difference import MetricDifference
from .metric_history import History
from .place import one_line

MOST = 12
_BUCKETS = 300
# The largest numbers, which also stand for infinity in MLflow, would press everything else flat.
_DRAWABLE = 1e300
_WIDTH, _HEIGHT = 340, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 12, 10, 24

Point = tuple[int, float]


def drawn(metrics: Sequence[MetricDifference]) -> list[MetricDifference]:
    """Return the metrics that are worth a chart: those that differ most; if none does, the first by name."""
    visible = [metric for metric in metrics if any(map(_is_drawable, metric.histories))]
    return ([metric for metric in visible if metric.parting] or visible)[:MOST]


def _is_drawable(history: History) -> bool:
    return any(abs(value) < _DRAWABLE for value in history.values)


def thinned(history: History) -> list[Point]:
    """Return a history with at most a few hundred points that looks the same: each stretch's lowest and highest."""
    points = [point if abs(point[1]) < _DRAWABLE else (point[0], math.nan) for point in _points(history)]
    if len(points) <= 2 * _BUCKETS:
        return points
    kept: list[Point] = []
    for number in range(_BUCKETS):
        stretch = points[number * len(points) // _BUCKETS : (number + 1) * len(points) // _BUCKETS]
        numbers = [point for point in stretch if not math.isnan(point[1])]
        if numbers:
            extremes = {min(numbers, key=lambda point: point[1]), max(numbers, key=lambda point: point[1])}
            kept += sorted(extremes)
        if len(numbers) < len(stretch):
            kept.append((stretch[-1][0], math.nan))  # a gap
    return kept


def _points(history: History) -> Iterator[Point]:
    return zip(history.steps, history.values, strict=True)


def ticks(low: float, high: float) -> list[float]:
    """Return two to five round numbers between *low* and *high*, which differ."""
    rough = (high - low) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    return [number * size for number in range(first, last + 1)]


def svg(metric: MetricDifference) -> str:
    """Return the chart as one SVG element; its colours are the page's: .a, .b, .axis, .parting."""
    series = [thinned(history) for history in metric.histories]
    steps = [step for points in series for step, _ in points]
    values = [value for points in series for _, value in points if not math.isnan(value)]
    left, right = min(steps), max(steps)
    low, high = _range(values)

    def x(step: float) -> float:
        share = (step - left) / (right - left) if right > left else 0.5
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(_TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = []
    for value in ticks(low, high):
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(value) + 3.5}" text-anchor="end">{value:.5g}</text>')
    floor = _HEIGHT - 8
    if right > left:
        parts.append(f'<text x="{_LEFT}" y="{floor}">step {left}</text>')
        parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{floor}" text-anchor="end">{right}</text>')
        if metric.parting:
            at = x(metric.parting.step)
            parts.append(f'<line class="parting" x1="{at}" x2="{at}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
    else:
        parts.append(f'<text x="{x(left)}" y="{floor}" text-anchor="middle">step {left}</text>')
    for side, points in zip("ab", series, strict=True):
        parts.append(_line(side, [(x(step), math.nan if math.isnan(value) else y(value)) for step, value in points]))
    label = escape(f"{one_line(metric.name)} of both runs, by step")
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    # Beyond this, neighbouring floats would be all that is left between two ticks.
    least = max(abs(low), abs(high)) * 1e-9 or 1.0
    margin = (high - low) * 0.06 if high - low > least else max(least, abs(high) * 0.1)
    return low - margin, high + margin


def _line(side: str, points: list[tuple[float, float]]) -> str:
    """Draw one run: a line with a gap where there is no number, and a dot where it has one point."""
    stretches: list[list[str]] = [[]]
    for x, y in points:
        if math.isnan(y):
            stretches.append([])
        else:
            stretches[-1].append(f"{x} {y}")
    drawn_lines = [f"M{'L'.join(stretch)}" for stretch in stretches if len(stretch) > 1]
    dots = [stretch[0].split(" ") for stretch in stretches if len(stretch) == 1]
    path = f'<path class="{side}" d="{"".join(drawn_lines)}"/>' if drawn_lines else ""
    size = 6 if side == "a" else 3.5
    return path + "".join(f'<circle class="{side}" cx="{x}" cy="{y}" r="{size}"/>' for x, y in dots)
