"""The difference between two runs as one HTML page: it loads nothing, runs nothing, and is light or dark."""

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from ..display import one_line
from ..errors import refuse
from .chart import BOTTOM, HEIGHT, TOP, Frame, is_drawable, svg
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
        f"<h1>{question}</h1><p class=verdict>{text_of(VERDICTS[found.verdict])}</p>",
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
    return document(" and ".join(run.run_id[:8] for run in (found.a, found.b)), sections)


def document(title: str, sections: Iterable[str]) -> str:
    """Return a whole page of *sections*, which are HTML; *title* is plain text. The page loads and runs nothing."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = (
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>{text_of(title)}</title><style>{_STYLE.read_text('utf-8')}</style>",
    )
    return "\n".join((*head, *filter(None, sections), "</html>\n"))


def text_of(value: str | None) -> str:
    """Return text from the store fit for the page: visible, on one line, without markup."""
    return escape(ABSENT if value is None else one_line(value, _VALUE * 4))


def _card(side: str, run: VerifiedRun) -> str:
    facts = describe(run)
    commit = f", commit {facts['commit'][:10]}" if facts["commit"] else ""
    line = f"{facts['experiment']}, {facts['status']}, {facts['started']}{commit}"
    name = f"<b>{side} &nbsp;{text_of(facts['name'] or facts['run_id'])}</b>"
    small = f"<small>{text_of(facts['run_id'])}</small><small>{text_of(line)}</small>"
    return f"<div class='run {side.lower()}'>{name}{small}</div>"


def _list(items: list[str], title: str) -> str:
    return f"<h2>{title}</h2><ul>{''.join(f'<li>{text_of(item)}' for item in items)}</ul>" if items else ""


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
        kind = f"<td><span class=kind>{text_of(each.kind)}</span>"
        rows.append(f"<tr>{kind}<td><code>{text_of(each.name)}</code><td><code>{a}</code><td><code>{b}</code>")
    return "<h2>Inputs that differ</h2>" + _table((("what differs", ""), ("where", ""), ("A", "a"), ("B", "b")), rows)


def _rows(title: str, rows: list[tuple[str, str | None, str | None]]) -> str:
    if not rows:
        return ""
    lines = []
    for key, a, b in rows:
        one, other = map(escape, pair(a, b, _VALUE))
        lines.append(f"<tr><td><code>{text_of(key)}</code><td>{one}<td>{other}")
    return f"<h2>{title}</h2>" + _table((("", ""), ("A", "a"), ("B", "b")), lines)


def _charts(metrics: tuple[MetricComparison, ...]) -> str:
    shown = _drawn(metrics)
    if not shown:
        return ""
    figures = (
        f"<figure><figcaption>{text_of(metric.name)} <small>{text_of(first_step(metric))}</small></figcaption>"
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
        cells = f"<td class=n>{a}<td class=n>{b}<td class=n>{escape(delta(metric))}<td>{text_of(first_step(metric))}"
        rows.append(f"<tr><td><code>{text_of(metric.name)}</code>{cells}")
    heads = (("metric", ""), ("A", "n a"), ("B", "n b"), ("B - A", "n"), ("differs", ""))
    return "<h2>All metrics, with their final values</h2>" + _table(heads, rows)


def _code(found: Difference) -> str:
    code = found.code
    commits = "".join(
        f"<p>Only in {side}:<ul>{''.join(f'<li>{text_of(commit)}' for commit in listed)}</ul>"
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

Point = tuple[int, float]


def _drawn(metrics: Sequence[MetricComparison]) -> list[MetricComparison]:
    """Return the metrics to draw: those that differ most; if none differs, the first by name.

    A metric of one value is a row of the table, and no picture.
    """
    curves = (metric for metric in metrics if any(len(history) > 1 for history in metric.histories))
    visible = [metric for metric in curves if any(map(_is_drawable, metric.histories))]
    return ([metric for metric in visible if metric.divergence] or visible)[:_MOST_CHARTS]


def _is_drawable(history: History) -> bool:
    return any(map(is_drawable, history.values))


def thinned(history: History) -> list[Point]:
    """Return at most a few hundred points that look the same in a chart: the lowest and highest of each stretch."""
    points = [point if is_drawable(point[1]) else (point[0], math.nan) for point in _points(history)]
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


def _svg(metric: MetricComparison) -> str:
    """Return the chart of a metric; page.css has its colours: .a, .b, .axis, .divergence."""
    series = [thinned(history) for history in metric.histories]
    steps = [step for points in series for step, _ in points]
    values = [value for points in series for _, value in points if not math.isnan(value)]
    frame = Frame(min(steps), max(steps), values)
    parts = [*frame.axis(), *frame.ends("step")]
    if metric.divergence and frame.right > frame.left:
        at = frame.x(metric.divergence.step)
        parts.append(f'<line class="divergence" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    for side, points in zip("ab", series, strict=True):
        drawn = [(frame.x(step), math.nan if math.isnan(value) else frame.y(value)) for step, value in points]
        parts.append(_line(side, drawn))
    return svg(parts, f"{one_line(metric.name)} of both runs, by step")


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
