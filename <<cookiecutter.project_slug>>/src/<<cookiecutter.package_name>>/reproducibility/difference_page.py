"""A difference as one page for a browser: it stands alone, loads nothing, runs nothing, light or dark."""

from collections.abc import Iterable
from html import escape
from pathlib import Path

from . import chart
from .difference import Difference
from .difference_table import ABSENT, VERDICTS, advice, delta, describe, numbers, pair, parting
from .metric_difference import MetricDifference
from .place import one_line
from .testimony import Testimony
from .violation import Refused, Violation

_MOST_ROWS = 2000
_MOST_CODE = 400_000  # characters
_VALUE = 300  # characters of one value in a cell
_STYLE = Path(__file__).with_name("difference_page.css")


def write(found: Difference, file: str) -> None:
    """Write the page to *file*; raises Refused when that cannot be done."""
    try:
        Path(file).write_text(page(found), encoding="utf-8", errors="replace")
    except OSError as error:
        raise Refused([Violation("--html", f"{file} cannot be written ({error.strerror})", "name another")]) from error


def page(found: Difference) -> str:
    """Return the page. Whatever comes from the store is text in it, never markup."""
    question = "Why do these two runs differ?" if found.exit_status == 1 else "Do these two runs differ?"
    sections = [
        f"<h1>{question}</h1><p class=verdict>{_text(VERDICTS[found.verdict])}</p>",
        f"<div class=runs>{_card('A', found.a)}{_card('B', found.b)}</div>",
        _list([*(f"{untold.kind}: {untold.why}" for untold in found.untold)], "What cannot be told"),
        _causes(found),
        _rows("Results", [(result.key, result.a, result.b) for result in found.results]),
        _charts(found.metrics),
        _metrics(found.metrics),
        _list(list(advice(found)), "What to do next"),
        _code(found),
        _rows("Differ too, and explain nothing", [(remark.key, remark.a, remark.b) for remark in found.remarks]),
    ]
    title = " and ".join(f"{side.recorded.run.info.run_id[:8]}" for side in (found.a, found.b))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = (
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)}</title><style>{_STYLE.read_text('utf-8')}</style>",
    )
    return "\n".join((*head, *filter(None, sections), "</html>\n"))


def _text(value: str | None) -> str:
    """Return text from anywhere, fit to stand in the page: visible, on one line, and no markup."""
    return escape(ABSENT if value is None else one_line(value, _VALUE * 4))


def _card(side: str, testimony: Testimony) -> str:
    run = describe(testimony)
    commit = f", commit {run['commit'][:10]}" if run["commit"] else ""
    facts = f"{run['experiment']}, {run['status']}, {run['started']}{commit}"
    name = f"<b>{side} &nbsp;{_text(run['name'] or run['run_id'])}</b>"
    return f"<div class='run {side.lower()}'>{name}<small>{run['run_id']}</small><small>{_text(facts)}</small></div>"


def _list(items: list[str], title: str) -> str:
    return f"<h2>{title}</h2><ul>{''.join(f'<li>{_text(item)}' for item in items)}</ul>" if items else ""


def _table(heads: Iterable[tuple[str, str]], rows: list[str]) -> str:
    head = "".join(f'<th class="{kind}">{name}' for name, kind in heads)
    more = f"<p>and {len(rows) - _MOST_ROWS:,} more" if len(rows) > _MOST_ROWS else ""
    return f"<div class=wide><table><tr>{head}{''.join(rows[:_MOST_ROWS])}</table></div>{more}"


def _causes(found: Difference) -> str:
    if not found.causes:
        return ""
    rows = []
    for cause in found.causes:
        a, b = map(escape, pair(cause.a, cause.b, _VALUE))
        kind = f"<td><span class=kind>{_text(cause.kind)}</span>"
        rows.append(f"<tr>{kind}<td><code>{_text(cause.key)}</code><td><code>{a}</code><td><code>{b}</code>")
    return "<h2>Causes</h2>" + _table((("what differs", ""), ("where", ""), ("A", "a"), ("B", "b")), rows)


def _rows(title: str, rows: list[tuple[str, str | None, str | None]]) -> str:
    if not rows:
        return ""
    lines = []
    for key, a, b in rows:
        one, other = map(escape, pair(a, b, _VALUE))
        lines.append(f"<tr><td><code>{_text(key)}</code><td>{one}<td>{other}")
    return f"<h2>{title}</h2>" + _table((("", ""), ("A", "a"), ("B", "b")), lines)


def _charts(metrics: tuple[MetricDifference, ...]) -> str:
    shown = chart.drawn(metrics)
    if not shown:
        return ""
    figures = (
        f"<figure><figcaption>{_text(metric.name)} <small>{_text(parting(metric))}</small></figcaption>"
        f"{chart.svg(metric)}</figure>"
        for metric in shown
    )
    more = f", {len(shown)} of {len(metrics)}" if len(metrics) > len(shown) else ""
    key = "<span class=key><i class=a></i>A <i class=b></i>B</span>"
    return f"<h2>Metrics by step{more} {key}</h2><div class=charts>{''.join(figures)}</div>"


def _metrics(metrics: tuple[MetricDifference, ...]) -> str:
    if not metrics:
        return ""
    rows = []
    for metric in metrics:
        a, b = map(escape, numbers(metric))
        cells = f"<td class=n>{a}<td class=n>{b}<td class=n>{escape(delta(metric))}<td>{_text(parting(metric))}"
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
