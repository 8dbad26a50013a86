"""The difference between two runs as one HTML page: it loads nothing, runs nothing, and is light or dark."""

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from ..display import one_line
from ..errors import refuse
from .diff import Difference
from .metrics import History, MetricComparison
from .table import ABSENT, VERDICTS, advice, delta, describe, first_step, in_words, numbers, pair, result_name
from .verified import VerifiedRun

_MOST_ROWS = 2000
_MOST_CODE = 400_000  # characters
_VALUE = 300  # characters of one value in a cell
_STYLE = Path(__file__).with_name("page.css")


def write(found: Difference, file: str) -> None:
    """Write the page to *file*; raises Refused if that is not possible."""
    try:
        Path(file).write_text(page(found), encoding="utf-8", errors="replace")
    except OSError as error:
        refuse("--html", f"{file} cannot be written ({error.strerror})", "name another")


def page(found: Difference) -> str:
    """Return the page. All values from the store are text in it, never markup."""
    question = "Why do these two runs differ?" if found.exit_status == 1 else "Do these two runs differ?"
    sections = [
        f"<h1>{question}</h1><p class=verdict>{_text(VERDICTS[found.verdict])}</p>",
        f"<div class=runs>{_card('A', found.a)}{_card('B', found.b)}</div>",
        _list(list(map(in_words, found.unknown)), "Unknown"),
        _inputs(found),
        _rows("Results", [(result_name(result), result.a, result.b) for result in found.results]),
        _charts(found.metrics),
        _metrics(found.metrics),
        _list(list(advice(found)), "What to do next"),
        _code(found),
        _rows("Other differences, which change no result", [(each.name, each.a, each.b) for each in found.irrelevant]),
    ]
    title = " and ".join(run.run_id[:8] for run in (found.a, found.b))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = (
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)}</title><style>{_STYLE.read_text('utf-8')}</style>",
    )
    return "\n".join((*head, *filter(None, sections), "</html>\n"))


def _text(value: str | None) -> str:
    """Return text from the store fit for the page: visible, on one line, without markup."""
    return escape(ABSENT if value is None else one_line(value, _VALUE * 4))


def _card(side: str, run: VerifiedRun) -> str:
    facts = describe(run)
    commit = f", commit {facts['commit'][:10]}" if facts["commit"] else ""
    line = f"{facts['experiment']}, {facts['status']}, {facts['started']}{commit}"
    name = f"<b>{side} &nbsp;{_text(facts['name'] or facts['run_id'])}</b>"
    small = f"<small>{_text(facts['run_id'])}</small><small>{_text(line)}</small>"
    return f"<div class='run {side.lower()}'>{name}{small}</div>"


def _list(items: list[str], title: str) -> str:
    return f"<h2>{title}</h2><ul>{''.join(f'<li>{_text(item)}' for item in items)}</ul>" if items else ""


def _table(heads: Iterable[tuple[str, str]], rows: list[str]) -> str:
    head = "".join(f'<th class="{kind}">{name}' for name, kind in heads)
    more = f"<p>and {len(rows) - _MOST_ROWS:,} more" if len(rows) > _MOST_ROWS else ""
    return f"<div class=wide><table><tr>{head}{''.join(rows[:_MOST_ROWS])}</table></div>{more}"


def _inputs(found: Difference) -> str:
    if not found.input_differences:
        return ""
    rows = []
    for each in found.input_differences:
        a, b = map(escape, pair(each.a, each.b, _VALUE))
        kind = f"<td><span class=kind>{_text(each.kind)}</span>"
        rows.append(f"<tr>{kind}<td><code>{_text(each.name)}</code><td><code>{a}</code><td><code>{b}</code>")
    return "<h2>Inputs that differ</h2>" + _table((("what differs", ""), ("where", ""), ("A", "a"), ("B", "b")), rows)


def _rows(title: str, rows: list[tuple[str, str | None, str | None]]) -> str:
    if not rows:
        return ""
    lines = []
    for key, a, b in rows:
        one, other = map(escape, pair(a, b, _VALUE))
        lines.append(f"<tr><td><code>{_text(key)}</code><td>{one}<td>{other}")
    return f"<h2>{title}</h2>" + _table((("", ""), ("A", "a"), ("B", "b")), lines)


def _charts(metrics: tuple[MetricComparison, ...]) -> str:
    shown = _drawn(metrics)
    if not shown:
        return ""
    figures = (
        f"<figure><figcaption>{_text(metric.name)} <small>{_text(first_step(metric))}</small></figcaption>"
        f"{_svg(metric)}</figure>"
        for metric in shown
    )
    more = f", {len(shown)} of {len(metrics)}" if len(metrics) > len(shown) else ""
    key = "<span class=key><i class=a></i>A <i class=b></i>B</span>"
    return f"<h2>Metrics by step{more} {key}</h2><div class=charts>{''.join(figures)}</div>"


def _metrics(metrics: tuple[MetricComparison, ...]) -> str:
    if not metrics:
        return ""
    rows = []
    for metric in metrics:
        a, b = map(escape, numbers(metric))
        cells = f"<td class=n>{a}<td class=n>{b}<td class=n>{escape(delta(metric))}<td>{_text(first_step(metric))}"
        rows.append(f"<tr><td><code>{_text(metric.name)}</code>{cells}")
    heads = (("metric", ""), ("A", "n a"), ("B", "n b"), ("B - A", "n"), ("differs", ""))
    return "<h2>All metrics, with their final values</h2>" + _table(heads, rows)


def _code(found: Difference) -> str:
    code = found.code
    commits = "".join(
        f"<p>Only in {side}:<ul>{''.join(f'<li>{_text(commit)}' for commit in listed)}</ul>"
        for side, listed in (("A", code.only_a), ("B", code.only_b))
        if listed
    )
    text = code.patch.decode("utf-8", "replace")
    if not text:
        return f"<h2>Commits</h2>{commits}" if commits else ""
    lines = []
    for line in text[:_MOST_CODE].split("\n"):
        kind = {"-": "minus", "+": "plus"}.get(line[:1], "")
        seen = escape("".join(part if part.isprintable() or part == "\t" else repr(part)[1:-1] for part in line))
        lines.append(f"<span class={kind}>{seen}</span>" if kind else seen)
    cut = f"<p>The rest is left out: it has {len(text):,} characters in all." if len(text) > _MOST_CODE else ""
    shown = "\n".join(lines)
    whole = f"<details><summary>The code from A to B</summary><pre>{shown}</pre>{cut}</details>"
    return f"<h2>Code</h2>{commits}{whole}"


_MOST_CHARTS = 12
_BUCKETS = 300
# A chart with a larger number, such as MLflow's infinity, would show all other values as one flat line.
_DRAWABLE = 1e300
_WIDTH, _HEIGHT = 340, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 12, 10, 24

Point = tuple[int, float]


def _drawn(metrics: Sequence[MetricComparison]) -> list[MetricComparison]:
    """Return the metrics to draw: those that differ most; if none differs, the first by name."""
    visible = [metric for metric in metrics if any(map(_is_drawable, metric.histories))]
    return ([metric for metric in visible if metric.divergence] or visible)[:_MOST_CHARTS]


def _is_drawable(history: History) -> bool:
    return any(abs(value) < _DRAWABLE for value in history.values)


def thinned(history: History) -> list[Point]:
    """Return at most a few hundred points that look the same in a chart: the lowest and highest of each stretch."""
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
    """Return two to five round numbers between *low* and *high*, of which *high* is larger."""
    rough = (high - low) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    return [number * size for number in range(first, last + 1)]


def _svg(metric: MetricComparison) -> str:
    """Return the chart as one SVG element; page.css has its colours: .a, .b, .axis, .divergence."""
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
        if metric.divergence:
            at = x(metric.divergence.step)
            parts.append(f'<line class="divergence" x1="{at}" x2="{at}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
    else:
        parts.append(f'<text x="{x(left)}" y="{floor}" text-anchor="middle">step {left}</text>')
    for side, points in zip("ab", series, strict=True):
        parts.append(_line(side, [(x(step), math.nan if math.isnan(value) else y(value)) for step, value in points]))
    label = escape(f"{one_line(metric.name)} of both runs, by step")
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    # A smaller range would hold so few floats that the labels of two ticks could be equal.
    least = max(abs(low), abs(high)) * 1e-9 or 1.0
    margin = (high - low) * 0.06 if high - low > least else max(least, abs(high) * 0.1)
    return low - margin, high + margin


def _line(side: str, points: list[tuple[float, float]]) -> str:
    """Draw one run: a line with a gap where a value is no number, and a dot for a point without neighbours."""
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
