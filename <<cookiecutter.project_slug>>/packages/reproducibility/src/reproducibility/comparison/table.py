"""The difference between two runs as tables in a terminal, and as one JSON object for machines."""

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..display import emit, listed, one_line
from .diff import Difference
from .inputs import UnknownInput
from .metrics import MetricComparison
from .outputs import Finding
from .verified import VerifiedRun

if TYPE_CHECKING:
    from rich.console import Console

_ROWS = 15
_WIDTH = 60  # characters of one value in a cell
ABSENT = "-"

VERDICTS = {
    "inputs": "Their inputs differ. What most likely explains the results comes first.",
    "nondeterminism": "Nondeterminism: all recorded inputs are the same, and yet the results differ.",
    "unexplained": "The results differ and no known input does, but some inputs are unknown.",
    "end": "They had the same inputs and logged the same results, but they did not end the same way.",
    "unknown": "No difference was found, but something is unknown.",
    "unfinished": "No difference was found as far as both runs got, but not both of them finished.",
    "identical": "No difference: the same inputs, and the same values at every step of every metric.",
}


def as_json_object(found: Difference) -> dict[str, Any]:
    """Return the difference as plain data."""
    return {
        "verdict": found.verdict,
        "a": describe(found.a),
        "b": describe(found.b),
        "input_differences": list(map(asdict, found.input_differences)),
        "unknown": list(map(asdict, found.unknown)),
        "results": [{"kind": each.kind, "name": each.name, "a": each.a, "b": each.b} for each in found.results],
        "metrics": list(map(_metric, found.metrics)),
        "irrelevant": list(map(asdict, found.irrelevant)),
        "commits": {"only_a": found.code.only_a, "only_b": found.code.only_b},
        "unfinished": found.unfinished,
    }


def describe(run: VerifiedRun) -> dict[str, Any]:
    """Return what a run is called, and when and how it ran, as plain data."""
    info = run.recorded.run.info
    return {
        "run_id": info.run_id,
        "name": info.run_name,
        "experiment": run.recorded.experiment,
        "status": info.status,
        "started": datetime.fromtimestamp(info.start_time / 1000).astimezone().isoformat(timespec="seconds"),
        "commit": run.tags.get("git_commit"),
    }


def _metric(metric: MetricComparison) -> dict[str, Any]:
    return {
        "name": metric.name,
        "a": metric.a,
        "b": metric.b,
        "delta": metric.delta,
        "steps_a": len(metric.histories[0]),
        "steps_b": len(metric.histories[1]),
        "same": metric.divergence is None and not metric.is_one_sided,
        "so_far": metric.so_far,
        "divergence": metric.divergence and asdict(metric.divergence),
    }


def number(value: float | None) -> str:
    """Return *value* with six digits. MLflow stores infinity as the largest finite number."""
    if value is None:
        return ABSENT
    return f"{math.copysign(math.inf, value) if abs(value) > 1e308 else value:.6g}"


def pair(a: str | None, b: str | None, width: int = _WIDTH) -> tuple[str, str]:
    """Return two values fit for a cell each, on one line. If they are long, cut both to where they begin to differ."""
    texts = [ABSENT if text is None else one_line(text, max(len(text), 1) * 10) for text in (a, b)]
    if max(map(len, texts)) <= width:
        return texts[0], texts[1]
    same = next((at for at, (x, y) in enumerate(zip(*texts, strict=False)) if x != y), min(map(len, texts)))
    start = max(0, same - width // 3) if same > width // 2 else 0
    cut = [f"{'...' * (start > 0)}{text[start : start + width]}{'...' * (len(text) > start + width)}" for text in texts]
    return cut[0], cut[1]


def numbers(metric: MetricComparison) -> tuple[str, str]:
    """Return the final values, in full if they would look the same with six digits and are not."""
    short = (number(metric.a), number(metric.b))
    differ = metric.a != metric.b and None not in (metric.a, metric.b)
    return (repr(metric.a), repr(metric.b)) if differ and short[0] == short[1] != "nan" else short


def first_step(metric: MetricComparison) -> str:
    """Say at which step a metric begins to differ."""
    if metric.divergence is None:
        return "equal so far" if metric.so_far else "equal"
    if None in (metric.a, metric.b):
        return f"only in {'B' if metric.a is None else 'A'}"
    steps = {step for history in metric.histories for step in history.steps}
    return f"from step {metric.divergence.step}" if len(steps) > 1 else "differs"


def delta(metric: MetricComparison) -> str:
    """Say by how much the final value changed; nothing if it did not."""
    return f"{metric.delta:+.3g}" if metric.delta else ""


def result_name(result: Finding) -> str:
    """Say what a result is: ``run status`` or ``param NAME``."""
    return f"{result.kind} {result.name}"


def _heading(run: VerifiedRun) -> str:
    """Return id, name and experiment of a run, how it ended, and when it began."""
    facts = describe(run)
    named = f"{one_line(facts['name'])}, " if facts["name"] else ""
    return f"{facts['run_id']}  {named}{one_line(facts['experiment'])}, {facts['status']}, {facts['started']}"


def advice(found: Difference) -> Iterable[str]:
    """Yield what to do or to check next."""
    for side, run in (("A", found.a), ("B", found.b)):
        if run.recorded.run.info.status in ("RUNNING", "SCHEDULED"):
            yield f"{side} is still running: what it has not logged yet is no difference."
    if found.verdict in ("nondeterminism", "unexplained"):
        environments = [run.environment or {} for run in (found.a, found.b)]
        if any(environment.get("hash_seed") == "random" for environment in environments):
            yield "Python's hash seed was random, so sets of text had another order: `nox -s train` sets it."
        if any(environment.get("gpus") for environment in environments):
            yield "A GPU took part: some of its operations add up in another order every time."
        yield "The cause may be an input that is not recorded: a variable, an argument, the clock, the network."
        yield f"To see whether it happens again: repro reproduce {found.a.run_id}"


def show_difference(found: Difference, references: tuple[str, str], as_json: bool = False) -> None:
    """Print the difference: first the inputs, then the results; or one JSON object."""
    emit(as_json, lambda: as_json_object(found), lambda console: _draw(console, found, references))


def _draw(console: "Console", found: Difference, references: tuple[str, str]) -> None:
    from rich.table import Table
    from rich.text import Text

    def table(rows: list[tuple[str, ...]], total: int, more: str, *columns: str, numeric: bool = False) -> None:
        shown = Table()
        for place, column in enumerate(columns):
            shown.add_column(column, overflow="fold", justify="right" if numeric and 0 < place < 4 else "left")
        for row in rows:
            shown.add_row(*map(Text, row))
        console.print(shown)
        if total > len(rows):
            console.print(f"and {total - len(rows)} more{more}", soft_wrap=True)

    repro = f"repro diff {references[0]} {references[1]}"
    console.print(f"\nA  {_heading(found.a)}\nB  {_heading(found.b)}\n{VERDICTS[found.verdict]}", soft_wrap=True)
    if inputs := found.input_differences:
        rows = [(each.kind, one_line(each.name), *pair(each.a, each.b)) for each in inputs[:_ROWS]]
        table(rows, len(inputs), f": {repro} --html FILE", "what differs", "where", "A", "B")
        if any(each.kind == "code" for each in inputs):
            commits = f"{len(found.code.only_a)} commits only in A, {len(found.code.only_b)} only in B; "
            console.print(f"{commits}the whole code difference: {repro} --code", soft_wrap=True)
    for unknown in found.unknown:
        console.print(in_words(unknown), soft_wrap=True)
    if found.results:
        rows = [(one_line(result_name(result)), *pair(result.a, result.b)) for result in found.results[:_ROWS]]
        table(rows, len(found.results), "", "result", "A", "B")
    if metrics := found.differing_metrics:
        rows = [(one_line(each.name), *numbers(each), delta(each), first_step(each)) for each in metrics[:_ROWS]]
        table(rows, len(metrics), f": {repro} --html FILE", "metric", "A", "B", "B - A", "differs", numeric=True)
    for line in _equal_metrics(found):
        console.print(line, soft_wrap=True)
    if found.irrelevant:
        names = listed((each.name for each in found.irrelevant), _ROWS, _WIDTH)
        console.print(f"Other differences, which change no result: {names}", soft_wrap=True)
    for line in advice(found):
        console.print(line, soft_wrap=True)


def _equal_metrics(found: Difference) -> Iterator[str]:
    """Yield how many metrics are equal, and which ones an unfinished run has not logged."""
    equal = [each for each in found.metrics if each.divergence is None and not each.is_one_sided]
    if whole := sum(not each.so_far for each in equal):
        yield f"{whole} of {len(found.metrics)} metrics are equal at every step."
    if whole < len(equal):
        yield f"{len(equal) - whole} of {len(found.metrics)} metrics are equal as far as both runs got."
    if missing := [each.name for each in found.metrics if each.is_one_sided]:
        yield f"Not compared, because a run ended before it logged them: {listed(missing, _ROWS, _WIDTH)}."


def in_words(unknown: UnknownInput) -> str:
    return f"unknown ({unknown.kind}): {one_line(unknown.why, 300)}"


def show_code(found: Difference) -> None:
    """Print the patch between the code of the two runs: each byte, for `git apply`; on a terminal, escaped."""
    if sys.stdout.isatty():
        for line in found.code.patch.decode("utf-8", "replace").split("\n"):
            print(line.replace("\t", "    ") if line.isprintable() else one_line(line.replace("\t", "    "), 10_000))
    else:
        sys.stdout.buffer.write(found.code.patch)
        sys.stdout.flush()
    for unknown in found.unknown:
        if unknown.kind == "code":
            print(in_words(unknown), file=sys.stderr)
