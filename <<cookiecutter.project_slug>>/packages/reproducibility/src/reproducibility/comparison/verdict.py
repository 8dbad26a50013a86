"""A verdict: how the results of a run compare with those of its reproduction. It is recorded as tags of both runs.

On the reproduction:

- ``reproduces``: the id of the run that it reproduces, from its start on;
- ``reproduces_verdict``: ``identical``, ``within tolerance`` or ``different``. `` (forced)`` follows if --force was
  needed, and then nobody should rely on the verdict;
- ``reproduces_note``: what differs first, what was forced, and in what the inputs differ.

On the run, from its last reproduction: ``reproduced_by``, ``reproduced_verdict``, ``reproduced_note``.
Anybody can write tags. So a verdict to rely on comes from `compare_with_last_reproduction`, which compares both again.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..display import emit, one_line
from .inputs import InputDifference
from .outputs import Finding, Outcome, Pair, first_difference, in_full, worst

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Verdict:
    """The outcome of a comparison.

    run_id: the run that is judged; it may be nested in the first run of *pairs*. pairs: the outermost run, then its
    nested runs in order. forced: problems that --force overrode. page: where a person finds the second run.
    """

    run_id: str
    pairs: tuple[Pair, ...]
    input_differences: tuple[InputDifference, ...]
    forced: tuple[str, ...]
    page: str

    @property
    def judged(self) -> tuple[Pair, ...]:
        """The pairs that count: for the outermost run all of them, for a nested run its own."""
        whole = self.pairs[0].a == self.run_id
        return self.pairs if whole else tuple(pair for pair in self.pairs if pair.a == self.run_id)

    @property
    def outcome(self) -> Outcome:
        return worst(pair.outcome for pair in self.judged)

    @property
    def holds(self) -> bool:
        return self.outcome is not Outcome.DIFFERENT

    @property
    def first_difference(self) -> Finding | None:
        """The first output that differs; if none does, the first that is only within the tolerance."""
        findings = [finding for pair in self.judged for finding in pair.findings]
        return first_difference(findings) or first_difference(findings, Outcome.WITHIN)

    def as_json(self) -> dict[str, Any]:
        """Return plain data. A number that JSON does not have is text, such as ``nan``; null means: missing."""
        return {
            "run": self.run_id,
            "reproduction": self.judged[0].b,
            "verdict": self.outcome.value,
            "holds": self.holds,
            "first_difference": _as_dict(self.first_difference) if self.first_difference else None,
            "input_differences": [asdict(difference) for difference in self.input_differences],
            "forced": list(self.forced),
            "runs": [
                asdict(pair) | {"findings": [_as_dict(finding) for finding in pair.findings]} for pair in self.pairs
            ],
            "page": self.page,
        }


def _as_dict(finding: Finding) -> dict[str, Any]:
    plain = asdict(finding)
    values = {key: plain[key] for key in ("a", "b") if isinstance(plain[key], float)}
    return plain | {key: value if abs(value) < float("inf") else repr(value) for key, value in values.items()}


_MOST = 20  # rows of what is the same, or of input differences
_STYLES = {Outcome.IDENTICAL: "green", Outcome.WITHIN: "yellow", Outcome.DIFFERENT: "bold red"}
_WORDS = {
    Outcome.IDENTICAL: "every metric at every step, every file and every model is the same",
    Outcome.WITHIN: "not to the last bit, but within the tolerance of the policy",
    Outcome.DIFFERENT: "the results are not the same",
}


class Words(NamedTuple):
    """What a table calls two runs: in its title, and in the heads of two columns."""

    title: str
    a: str
    b: str


REPRODUCED = Words("run {} and its reproduction {}", "run", "reproduction")
COMPARED = Words("run {} (A) and run {} (B)", "A", "B")


def show_verdict(verdict: Verdict, as_json: bool, words: Words = REPRODUCED) -> None:
    """Print *verdict* on standard output."""
    emit(as_json, verdict.as_json, lambda console: _draw(console, verdict, words))


def _draw(console: "Console", verdict: Verdict, words: Words) -> None:
    for pair in verdict.judged:
        _draw_pair(console, pair, words)
    _draw_inputs(console, verdict, words)
    console.print()
    console.print(verdict.outcome.value.upper(), style=_STYLES[verdict.outcome], end=": ")
    console.print(_WORDS[verdict.outcome])
    if (difference := verdict.first_difference) is not None:
        console.print(f"First difference: {difference}", soft_wrap=True)
    for forced in verdict.forced:
        console.print(f"Forced, so do not rely on it: {forced}", style="red", soft_wrap=True)
    console.print(f"Recorded in {verdict.page}", soft_wrap=True)


def _draw_pair(console: "Console", pair: Pair, words: Words) -> None:
    from rich.table import Table

    console.print("\n" + words.title.format(one_line(pair.name or pair.a, 200), pair.b), soft_wrap=True)
    differing = [finding for finding in pair.findings if finding.outcome is not Outcome.IDENTICAL]
    same = [finding for finding in pair.findings if finding.outcome is Outcome.IDENTICAL]
    table = Table("", "what", words.a, words.b, "verdict")
    for finding in [*differing, *same[:_MOST]]:
        style = None if finding.outcome is Outcome.IDENTICAL else _STYLES[finding.outcome]
        step = "" if finding.step is None else f" from step {finding.step}"
        name = one_line(finding.name, 200) + step
        table.add_row(finding.kind, name, *_values(finding), finding.outcome.value, style=style)
    if rest := same[_MOST:]:
        table.add_row("", f"and {len(rest)} more", "", "the same", Outcome.IDENTICAL.value)
    console.print(table)


def _values(finding: Finding) -> list[str]:
    """Return the two values: in full if they differ, else in short; of a digest the first eight digits."""
    words = []
    for value in (finding.a, finding.b):
        if value is None:
            words.append("missing")
        elif finding.kind in ("file", "model"):
            words.append(str(value).removeprefix("blake3:")[:8])
        elif finding.outcome is Outcome.IDENTICAL and isinstance(value, float):
            words.append(f"{value:.6g}" + (f", the last of {finding.values}" if finding.values > 1 else ""))
        else:
            words.append(in_full(value))
    return [words[0], "the same"] if finding.outcome is Outcome.IDENTICAL else words


def _draw_inputs(console: "Console", verdict: Verdict, words: Words) -> None:
    if not verdict.input_differences:
        return
    from rich.table import Table

    table = Table("inputs that differ", "", words.a, words.b)
    for each in verdict.input_differences[:_MOST]:
        values = ("none" if value is None else one_line(value) for value in (each.a, each.b))
        table.add_row(each.kind, one_line(each.name), *values)
    if rest := verdict.input_differences[_MOST:]:
        table.add_row("", f"and {len(rest)} more")
    console.print(table)
    for each in verdict.input_differences:
        if (each.kind, each.name) == ("numerics", "processors"):
            why = "Sums are split among them, so the last bits may differ for this reason alone."
            console.print(f"Processors: {words.a} {each.a}, {words.b} {each.b}. {why}", soft_wrap=True)
