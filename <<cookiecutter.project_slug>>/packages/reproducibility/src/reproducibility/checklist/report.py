"""A report: the checklist as a table for people, as Markdown for a pull request, as JSON, and as a picture."""

import io
import re
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..display import console, emit
from ..errors import printable, refuse
from .checklist import Checklist
from .item import Item, State

if TYPE_CHECKING:
    from rich.console import Console


_MARKS = {State.PASSES: "✓", State.FAILS: "✗", State.UNKNOWN: "?"}
_ASCII_MARKS = {State.PASSES: "ok", State.FAILS: "NO", State.UNKNOWN: "?"}
_EMOJI = {State.PASSES: "✅", State.FAILS: "❌", State.UNKNOWN: "❔"}
_STYLES = {State.PASSES: "green", State.FAILS: "bold red", State.UNKNOWN: "yellow"}
_WIDTH = 100  # characters of the picture
# A picture of rich loads its font from another server. Ours uses the fonts of the reader.
_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
# What means something to Markdown in a table, or starts a link. Text from a run or a pull request may contain anything.
_SPECIAL = re.compile(r"[|`\[\]@\\*~#!]|:(?=//)")


def show_checklist(checklist: Checklist, form: str) -> None:
    """Print *checklist* on standard output, as ``table``, ``markdown`` or ``json``."""
    if form == "markdown":
        click.echo(_markdown(checklist))
        return

    def render(console: "Console") -> None:
        _print(console, checklist)
        if checklist.place:
            console.print(f"The run is recorded in {checklist.place}", soft_wrap=True)

    emit(form == "json", lambda: asdict(checklist) | {"holds": checklist.exit_status == 0}, render)


def draw(checklist: Checklist, file: Path) -> None:
    """Write *checklist* as a self-contained SVG picture, without the place where the run is recorded.

    Raises Refused where the picture cannot be written.
    """
    canvas = console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True)
    _print(canvas, checklist)
    picture = _FONT.sub("", canvas.export_svg(title="repro checklist", unique_id="checklist"))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line.rstrip()}\n" for line in picture.splitlines()), encoding="utf-8", newline="\n")
    except OSError as error:
        problem = f"{file} cannot be written ({error.strerror})"
        refuse("--svg", problem, "name a file in a folder that you can write to")


def _print(console: "Console", checklist: Checklist) -> None:
    from rich.table import Table
    from rich.text import Text

    marks = _MARKS if console.encoding.lower().startswith("utf") else _ASCII_MARKS
    table = Table("", "item", "evidence, and what to do", show_lines=True)
    for item in checklist.items:
        style = _STYLES[item.state]
        lines = [*map(Text, item.evidence), *(Text(each, style) for each in _problems(item))]
        lines += [Text(f"→ {fix}" if marks is _MARKS else f"-> {fix}", "bold") for fix in _fixes(item)]
        table.add_row(Text(marks[item.state], style), item.title, Text("\n").join(lines))
    console.print()
    console.print(_heading(checklist), soft_wrap=True)
    console.print(table)
    console.print(_summary(checklist), style=_STYLES[State.PASSES if checklist.exit_status == 0 else State.FAILS])


def _markdown(checklist: Checklist) -> str:
    lines = [
        f"### Reproducibility checklist: {_summary(checklist)}",
        "",
        _heading(checklist),
        "",
        "| | item | evidence | to fix it |",
        "|---|---|---|---|",
    ]
    for item in checklist.items:
        evidence = [*map(_escaped, item.evidence), *(f"**{_escaped(each)}**" for each in _problems(item))]
        fixes = "<br>".join(map(_escaped, _fixes(item)))
        cells = [_EMOJI[item.state], f"**{item.title}**", "<br>".join(evidence), fixes]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Return *text* for one line of Markdown, in which it is only text."""
    line = printable(text).replace("\n", " ")
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", escape(line, quote=False))


def _problems(item: Item) -> list[str]:
    return [f"{problem.key}: {problem.problem}" for problem in item.problems]


def _fixes(item: Item) -> list[str]:
    return list(dict.fromkeys(problem.fix for problem in item.problems))


def _heading(checklist: Checklist) -> str:
    run = f"run {checklist.run_id}" if checklist.run_id else "no run"
    return f"commit {checklist.head}, {run}"


def _summary(checklist: Checklist) -> str:
    if checklist.exit_status == 0:
        return f"all {len(checklist.items)} items pass"
    passed = sum(item.state is State.PASSES for item in checklist.items)
    open_ = [item.title for item in checklist.items if item.state is not State.PASSES]
    return f"{passed} of {len(checklist.items)} items pass; look at: {', '.join(open_)}"
