"""A verdict: how a run that was made again compares with the one it repeats, told as tags of both.

On the run that was made again:

- ``reproduces``: the id of the run that it repeats, from its first moment on;
- ``reproduces_verdict``: ``identical``, ``within tolerance`` or ``different``; with `` (forced)`` behind it where
  --force overrode something, and then nobody should rely on it;
- ``reproduces_note``: what differs first, what was forced, and in what the two machines differ.

On the run that is repeated the same of the last time: ``reproduced_by``, ``reproduced_verdict``, ``reproduced_note``.
Tags can be written by anybody. Whoever has to rely on them asks `reproduction.recheck`, which compares both runs anew.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..display import emit
from .inputs import Condition
from .outputs import Finding, Outcome, Pair, first_difference, shown, worst

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Verdict:
    """What came out. pairs: the run and then, in order, those inside it. asked: the id of the one that is judged.

    forced: what was known to be wrong and overridden. place: where a person finds the new run.
    """

    asked: str
    pairs: tuple[Pair, ...]
    conditions: tuple[Condition, ...]
    forced: tuple[str, ...]
    place: str

    @property
    def judged(self) -> tuple[Pair, ...]:
        """The pairs that count: of the outermost run all, of one inside it its own."""
        whole = self.pairs[0].first == self.asked
        return self.pairs if whole else tuple(pair for pair in self.pairs if pair.first == self.asked)

    @property
    def outcome(self) -> Outcome:
        return worst(pair.outcome for pair in self.judged)

    @property
    def holds(self) -> bool:
        return self.outcome is not Outcome.DIFFERENT

    @property
    def first_difference(self) -> Finding | None:
        """The earliest thing that differs, else the earliest that is only within the tolerance."""
        findings = [finding for pair in self.judged for finding in pair.findings]
        return first_difference(findings) or first_difference(findings, Outcome.WITHIN)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data; a number that JSON has not is text, as `nan`."""
        return {
            "run": self.asked,
            "reproduction": self.judged[0].second,
            "verdict": self.outcome.value,
            "holds": self.holds,
            "first_difference": _as_dict(self.first_difference) if self.first_difference else None,
            "conditions": [asdict(condition) for condition in self.conditions],
            "forced": list(self.forced),
            "runs": [
                asdict(pair) | {"findings": [_as_dict(finding) for finding in pair.findings]} for pair in self.pairs
            ],
            "place": self.place,
        }


def _as_dict(finding: Finding) -> dict[str, Any]:
    plain = asdict(finding)
    values = {key: plain[key] for key in ("first", "second") if isinstance(plain[key], float)}
    return plain | {key: value if abs(value) < float("inf") else repr(value) for key, value in values.items()}


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


def show_verdict(verdict: Verdict, as_json: bool, words: Words = REPEATED) -> None:
    """Print *verdict* on standard output."""
    emit(as_json, verdict.as_json, lambda console: _draw(console, verdict, words))


def _draw(console: "Console", verdict: Verdict, words: Words) -> None:
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
