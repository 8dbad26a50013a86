"""The results of a sweep as one HTML page: it loads nothing, runs nothing, and is light or dark."""

import math
from collections.abc import Mapping
from pathlib import Path

from ..comparison.chart import HEIGHT, LEFT, TOP, WIDTH, Frame, is_drawable, span, svg, ticks
from ..comparison.page import document, text_of
from ..display import one_line
from ..errors import refuse
from .report import Shown, interval, shown_value
from .space import Choice, Dimension, Range
from .study import Combination

_MOST_ROWS, _MOST_LINES, _MOST_SPREADS = 500, 300, 20
_ROW = 22  # pixels of one row of bars


def write(shown: Shown, importance: Mapping[str, float], file: str) -> None:
    """Write the page to *file*; raises Refused if that is not possible."""
    try:
        Path(file).write_text(page(shown, importance), encoding="utf-8", errors="replace")
    except OSError as error:
        refuse("--html", f"{file} cannot be written ({error.strerror})", "name another")


def page(shown: Shown, importance: Mapping[str, float]) -> str:
    """Return the page. *importance*: how much of the metric's variation each key explains, {dotted key: share}."""
    settings, tally = shown.settings, shown.tally
    ranked = [each for each in shown.ranked() if is_drawable(each.value) and not math.isnan(each.value)]
    best = f"The best mean is {ranked[0].value:.6g}. " if ranked else ""
    sections = [
        f"<h1>Sweep of {text_of(settings.experiment.name)}: {text_of(settings.metric)}, {settings.direction}d</h1>",
        f"<p class=verdict>{best}{tally.finished} of {settings.trials} trials have a finished run.</p>",
        _failures(shown),
        _over_trials(shown) if ranked else "",
        _parallel(shown, ranked) if ranked else "",
        _importance(importance),
        _spread(shown, ranked) if settings.trials_of_each > 1 and ranked else "",
        _table(shown, ranked),
    ]
    return document(f"sweep {shown.sweep[:8]}", sections)


def _failures(shown: Shown) -> str:
    failures = shown.tally.failures.most_common(20)
    items = "".join(f"<li>{count}: {text_of(reason)}" for reason, count in failures)
    return f"<h2>Trials without a finished run, by the reason</h2><ul>{items}</ul>" if items else ""


def _figure(caption: str, drawing: str) -> str:
    return f"<div class=charts><figure><figcaption>{caption}</figcaption>{drawing}</figure></div>"


def _over_trials(shown: Shown) -> str:
    """Draw a dot for each trial, and a line for the best trial so far."""
    results = sorted(shown.tally.results.values(), key=lambda each: each.number)
    points = [(each.number, each.value) for each in results if each.is_finished and is_drawable(each.value)]
    frame = Frame(points[0][0], points[-1][0], [value for _, value in points])
    choose = max if shown.settings.maximizes else min
    best, line = points[0][1], []
    for number, value in points:
        best = choose(best, value)
        line.append(f"{frame.x(number)} {frame.y(best)}")
    parts = [*frame.axis(), *frame.ends("trial")]
    parts.append(f'<path class="b" d="M{"L".join(line)}"/>')
    parts += [f'<circle class="a" cx="{frame.x(number)}" cy="{frame.y(value)}" r="3"/>' for number, value in points]
    label = f"{shown.settings.metric} of each trial"
    return "<h2>The metric over trials</h2>" + _figure(
        "A dot is a trial, the line is the best so far", svg(parts, label)
    )


def _share(dimension: Dimension, value: object) -> float:
    """Return where *value* lies on the axis of *dimension*, from 0 to 1."""
    domain = dimension.domain
    if isinstance(domain, Choice):
        return domain.values.index(value) / max(1, len(domain.values) - 1)
    low, high = domain.low, domain.high
    if domain.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def _ends(domain: Choice | Range) -> list[tuple[float, str]]:
    """Return the labels of an axis, each with its place from 0 to 1."""
    if isinstance(domain, Range):
        return [(0, f"{domain.low:.4g}"), (1, f"{domain.high:.4g}")]
    return [
        (number / max(1, len(domain.values) - 1), one_line(shown_value(value), 12))
        for number, value in enumerate(domain.values[:12])
    ]


def _parallel(shown: Shown, ranked: list[Combination]) -> str:
    """Draw a line for each combination across an axis for each key and for the metric; the best one stands out."""
    dimensions = shown.settings.dimensions
    width, height = 150 * (len(dimensions) + 1), 220
    top, bottom = 24, 16
    drawn = ranked[:_MOST_LINES]
    low, high = span([each.value for each in drawn])

    def y(share: float) -> float:
        return round(height - bottom - share * (height - top - bottom), 1)

    parts = []
    axes = [*((each.name, _ends(each.domain)) for each in dimensions)]
    axes.append((shown.settings.metric, [((value - low) / (high - low), f"{value:.4g}") for value in ticks(low, high)]))
    for number, (name, labels) in enumerate(axes):
        x = 75 + number * 150
        parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{y(0)}" y2="{y(1)}"/>')
        parts.append(f'<text x="{x}" y="12" text-anchor="middle">{text_of(one_line(name, 24))}</text>')
        parts += [
            f'<text x="{x - 5}" y="{y(share) + 3.5}" text-anchor="end">{text_of(label)}</text>'
            for share, label in labels
        ]
    for rank, each in reversed(list(enumerate(drawn))):
        shares = [_share(dimension, each.values[dimension.name]) for dimension in dimensions]
        shares.append((each.value - low) / (high - low))
        line = "L".join(f"{75 + number * 150} {y(share)}" for number, share in enumerate(shares))
        parts.append(f'<path class="{"b" if rank == 0 else "faint"}" d="M{line}"/>')
    more = f", the best {len(drawn)}" if len(ranked) > len(drawn) else ""
    drawing = svg(parts, "the combinations, with an axis for each key", width, height)
    return f"<h2>Combinations{more}</h2><div class=wide>{drawing.replace('<svg', '<svg class=broad', 1)}</div>"


def _importance(importance: Mapping[str, float]) -> str:
    if not importance:
        return ""
    rows = sorted(importance.items(), key=lambda each: -each[1])
    parts = []
    for number, (name, share) in enumerate(rows):
        y = number * _ROW
        parts.append(f'<text x="150" y="{y + 14}" text-anchor="end">{text_of(one_line(name, 28))}</text>')
        parts.append(f'<rect class="a" x="156" y="{y + 4}" width="{round(share * 150, 1)}" height="13"/>')
        parts.append(f'<text x="{round(160 + share * 150, 1)}" y="{y + 14}">{share:.0%}</text>')
    drawing = svg(parts, "the importance of each key", WIDTH, len(rows) * _ROW + 4)
    return "<h2>Importance of each key</h2>" + _figure("How much of the metric's variation it explains", drawing)


def _spread(shown: Shown, ranked: list[Combination]) -> str:
    """Draw the trials of each combination as dots on a line, with the interval of their mean."""
    drawn = ranked[:_MOST_SPREADS]
    spreads = [(each.value, interval(shown.values(each)) or 0.0, shown.values(each)) for each in drawn]
    ends = [value + side * half for value, half, _ in spreads for side in (-1, 1)]
    low, high = span([*ends, *(one for _, _, values in spreads for one in values)])

    def x(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - 12), 1)

    height = len(drawn) * _ROW + 24
    parts = [
        part
        for value in ticks(low, high)
        for part in (
            f'<line class="axis" x1="{x(value)}" x2="{x(value)}" y1="{TOP}" y2="{height - 20}"/>',
            f'<text x="{x(value)}" y="{height - 6}" text-anchor="middle">{value:.4g}</text>',
        )
    ]
    for number, (mean, half, values) in enumerate(spreads):
        y = TOP + number * _ROW + 8
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5}" text-anchor="end">{drawn[number].number}</text>')
        parts.append(f'<path class="b" d="M{x(mean - half)} {y}L{x(mean + half)} {y}"/>')
        parts += [f'<circle class="a" cx="{x(value)}" cy="{y}" r="3"/>' for value in values]
        parts.append(f'<circle class="b" cx="{x(mean)}" cy="{y}" r="3.5"/>')
    caption = "A row is a combination, the best first: its trials, their mean and the 95 % interval of the mean"
    return "<h2>Spread over seeds</h2>" + _figure(caption, svg(parts, caption, WIDTH, max(height, HEIGHT // 2)))


def _table(shown: Shown, ranked: list[Combination]) -> str:
    if not ranked:
        return ""
    names = [each.name for each in shown.settings.dimensions]
    heads = "".join(f"<th>{text_of(name)}" for name in ("combination", shown.settings.metric, "± 95 %", *names, "runs"))
    rows = []
    for each in ranked[:_MOST_ROWS]:
        half = interval(shown.values(each))
        cells = [str(each.number), f"{each.value:.6g}", f"{half:.2g}" if half is not None else ""]
        cells += [shown_value(each.values[name]) for name in names]
        cells.append(" ".join(one.run_id or "" for one in shown.tally.of(each.number)))
        rows.append("<tr>" + "".join(f"<td>{text_of(cell)}" for cell in cells))
    more = f"<p>and {len(ranked) - _MOST_ROWS} more" if len(ranked) > _MOST_ROWS else ""
    table = f"<div class=wide><table><tr>{heads}{''.join(rows)}</table></div>"
    return f"<h2>All combinations, the best first</h2>{table}{more}"
