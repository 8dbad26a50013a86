"""A report: a verdict for people to read, or as one JSON object."""

import json
from typing import TYPE_CHECKING, NamedTuple

import click

from .comparison import Finding, Outcome, shown
from .verdict import Pair, Verdict

if TYPE_CHECKING:
    from rich.console import Console

_MOST = 20  # things that agree and are shown one by one
_STYLES = {Outcome.IDENTICAL: "green", Outcome.WITHIN: "yellow", Outcome.DIFFERENT: "bold red"}
_WORDS = {
    Outcome.IDENTICAL: "every metric at every step, every file and every model is the same",
    Outcome.WITHIN: "not to the last bit, but by no more than the policy's tolerance",
    Outcome.DIFFERENT: "it did not come out the same",
}


class Words(NamedTuple):
    """What a pair of runs is called: above its table, and each of the two in it."""

    both: str
    first: str
    second: str


REPEATED = Words("run {}, made again as {}", "the run", "made again")
COMPARED = Words("run {} (A) and run {} (B)", "A", "B")


def show(verdict: Verdict, as_json: bool, words: Words = REPEATED) -> None:
    """Print *verdict* on standard output."""
    if as_json:
        click.echo(json.dumps(verdict.as_json(), indent=2, allow_nan=False))
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    for pair in verdict.judged:
        _show_pair(console, pair, words)
    _show_conditions(console, verdict, words)
    console.print()
    console.print(verdict.outcome.value.upper(), style=_STYLES[verdict.outcome], end=": ")
    console.print(_WORDS[verdict.outcome])
    if (difference := verdict.first_difference) is not None:
        console.print(f"First difference: {difference}", soft_wrap=True)
    for forced in verdict.forced:
        console.print(f"Forced, so do not rely on it: {forced}", style="red", soft_wrap=True)
    console.print(f"Recorded in {verdict.place}", soft_wrap=True)


def _show_pair(console: "Console", pair: Pair, words: Words) -> None:
    from rich.table import Table

    console.print("\n" + words.both.format(pair.name or pair.first, pair.second), soft_wrap=True)
    differing = [finding for finding in pair.findings if finding.outcome is not Outcome.IDENTICAL]
    same = [finding for finding in pair.findings if finding.outcome is Outcome.IDENTICAL]
    table = Table("", "what", words.first, words.second, "verdict")
    for finding in [*differing, *same[:_MOST]]:
        style = None if finding.outcome is Outcome.IDENTICAL else _STYLES[finding.outcome]
        step = "" if finding.step is None else f" from step {finding.step}"
        table.add_row(finding.kind, finding.name + step, *_values(finding), finding.outcome.value, style=style)
    if rest := same[_MOST:]:
        table.add_row("", f"and {len(rest)} more", "", "the same", Outcome.IDENTICAL.value)
    console.print(table)


def _values(finding: Finding) -> list[str]:
    """The two values, to the last digit where they differ and in short where not; a digest's first eight digits."""
    words = []
    for value in (finding.first, finding.second):
        if value is None:
            words.append("missing")
        elif finding.kind in ("file", "model"):
            words.append(str(value).removeprefix("blake3:")[:8])
        elif finding.outcome is Outcome.IDENTICAL and isinstance(value, float):
            words.append(f"{value:.6g}" + (f", the last of {finding.values}" if finding.values > 1 else ""))
        else:
            words.append(shown(value))
    return [words[0], "the same"] if finding.outcome is Outcome.IDENTICAL else words


def _show_conditions(console: "Console", verdict: Verdict, words: Words) -> None:
    if not verdict.conditions:
        return
    from rich.table import Table

    table = Table("not the same for both", words.first, words.second)
    for condition in verdict.conditions:
        table.add_row(condition.name, condition.first, condition.second)
    console.print(table)
