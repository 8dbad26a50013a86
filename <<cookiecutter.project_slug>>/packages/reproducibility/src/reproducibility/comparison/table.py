"""A difference as a person reads it in a terminal, and as one JSON object for machines."""

import math
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..display import emit, one_line
from .diff import Difference
from .inputs import VerifiedRun
from .metrics import MetricDifference

if TYPE_CHECKING:
    from rich.console import Console

_ROWS = 15
_WIDTH = 60  # characters of one value in a cell
ABSENT = "-"

VERDICTS = {
    "causes": "They did not start the same: what explains most comes first.",
    "nondeterminism": "Nondeterminism: everything recorded is the same, and yet the results differ.",
    "unexplained": "Nothing that is recorded explains the results; what cannot be told may.",
    "end": "They started the same and logged the same, but they did not end the same.",
    "untold": "No difference was found, but not everything can be told.",
    "identical": "No difference: the same start, and the same at every step of every metric.",
}


def as_json_object(found: Difference) -> dict[str, Any]:
    """Return the difference as plain data, whose keys do not change; what is no finite number is None."""
    return {
        "verdict": found.verdict,
        "a": describe(found.a),
        "b": describe(found.b),
        "causes": [vars(cause) for cause in found.causes],
        "untold": [vars(untold) for untold in found.untold],
        "results": [vars(result) for result in found.results],
        "metrics": [_metric(metric) for metric in found.metrics],
        "remarks": [vars(remark) for remark in found.remarks],
        "commits": {"only_a": found.code.only_a, "only_b": found.code.only_b},
        "unfinished": found.unfinished,
    }


def describe(testimony: VerifiedRun) -> dict[str, Any]:
    """Return what a run is called, and when and how it ran, as plain data."""
    run = testimony.recorded.run
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "experiment": testimony.recorded.experiment,
        "status": run.info.status,
        "started": datetime.fromtimestamp(run.info.start_time / 1000).astimezone().isoformat(timespec="seconds"),
        "commit": testimony.tags.get("git_commit"),
    }


def _metric(metric: MetricDifference) -> dict[str, Any]:
    parting = metric.parting
    return {
        "name": metric.name,
        "a": _finite(metric.a),
        "b": _finite(metric.b),
        "delta": _finite(metric.delta),
        "steps_a": len(metric.histories[0]),
        "steps_b": len(metric.histories[1]),
        "same": parting is None,
        "so_far": metric.so_far,
        "parting": parting
        and {"step": parting.step, "a": list(map(_finite, parting.a)), "b": list(map(_finite, parting.b))},
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def number(value: float | None) -> str:
    """Return *value* as people write it; the largest finite number stands for infinity in MLflow."""
    if value is None:
        return ABSENT
    return f"{math.copysign(math.inf, value) if abs(value) > 1e308 else value:.6g}"


def pair(a: str | None, b: str | None, width: int = _WIDTH) -> tuple[str, str]:
    """Return two values fit for a cell each: on one line, cut, and where they are long, cut to where they part."""
    texts = [ABSENT if text is None else one_line(text, max(len(text), 1) * 10) for text in (a, b)]
    if max(map(len, texts)) <= width:
        return texts[0], texts[1]
    same = next((at for at, (x, y) in enumerate(zip(*texts, strict=False)) if x != y), min(map(len, texts)))
    start = max(0, same - width // 3) if same > width // 2 else 0
    cut = [f"{'...' * (start > 0)}{text[start : start + width]}{'...' * (len(text) > start + width)}" for text in texts]
    return cut[0], cut[1]


def numbers(metric: MetricDifference) -> tuple[str, str]:
    """Return the final values, with as many digits as it takes to tell them apart."""
    short = (number(metric.a), number(metric.b))
    differ = metric.a != metric.b and None not in (metric.a, metric.b)
    return (repr(metric.a), repr(metric.b)) if differ and short[0] == short[1] != "nan" else short


def parting(metric: MetricDifference) -> str:
    """Say where a metric parts."""
    if metric.parting is None:
        return "equal so far" if metric.so_far else "equal"
    if None in (metric.a, metric.b):
        return f"only in {'B' if metric.a is None else 'A'}"
    steps = {step for history in metric.histories for step in history.steps}
    return f"from step {metric.parting.step}" if len(steps) > 1 else "differs"


def delta(metric: MetricDifference) -> str:
    """Say by how much the final value changed."""
    return f"{metric.delta:+.3g}" if metric.delta else ""


def heading(testimony: VerifiedRun) -> str:
    """Name a run: id, name, experiment, how it ended, when it began."""
    run = describe(testimony)
    named = f"{one_line(run['name'] or '')}, " if run["name"] else ""
    return f"{run['run_id']}  {named}{one_line(testimony.recorded.experiment)}, {run['status']}, {run['started']}"


def advice(found: Difference) -> Iterable[str]:
    """Yield what to do or to think of next."""
    for side, testimony in (("A", found.a), ("B", found.b)):
        if testimony.recorded.run.info.status in ("RUNNING", "SCHEDULED"):
            yield f"{side} is still running: what it has not logged yet is no difference."
    if found.verdict in ("nondeterminism", "unexplained"):
        environments = [testimony.environment or {} for testimony in (found.a, found.b)]
        if any(environment.get("hash_seed") == "random" for environment in environments):
            yield "Python's hash seed was random, so sets of text had another order: `nox -s train` sets it."
        if any(environment.get("gpus") for environment in environments):
            yield "A GPU took part: some of its operations add up in another order every time."
        yield "An input that is no part of the record can be why: a variable, an argument, the clock, the network."
        yield f"To see whether it happens again: repro reproduce {found.a.recorded.run.info.run_id}"


def show_difference(found: Difference, references: tuple[str, str], as_json: bool = False) -> None:
    """Print the difference: first why, then in what; or one JSON object."""
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
    console.print(f"\nA  {heading(found.a)}\nB  {heading(found.b)}\n{VERDICTS[found.verdict]}", soft_wrap=True)
    if found.causes:
        rows = [(cause.kind, one_line(cause.key), *pair(cause.a, cause.b)) for cause in found.causes[:_ROWS]]
        table(rows, len(found.causes), f": {repro} --html FILE", "what differs", "where", "A", "B")
        if any(cause.kind == "code" for cause in found.causes):
            commits = f"{len(found.code.only_a)} commits only in A, {len(found.code.only_b)} only in B; "
            console.print(f"{commits}the whole code difference: {repro} --code", soft_wrap=True)
    for untold in found.untold:
        console.print(f"cannot be told ({untold.kind}): {one_line(untold.why, 300)}", soft_wrap=True)
    if found.results:
        rows = [(one_line(result.key), *pair(result.a, result.b)) for result in found.results[:_ROWS]]
        table(rows, len(found.results), "", "result", "A", "B")
    if found.parted:
        rows = [
            (one_line(metric.name), *numbers(metric), delta(metric), parting(metric)) for metric in found.parted[:_ROWS]
        ]
        table(rows, len(found.parted), f": {repro} --html FILE", "metric", "A", "B", "B - A", "differs", numeric=True)
    equal = len(found.metrics) - len(found.parted)
    if equal:
        console.print(f"{equal} of {len(found.metrics)} metrics are equal at every step.")
    if found.remarks:
        named = ", ".join(one_line(remark.key) for remark in found.remarks[:_ROWS])
        console.print(f"Differ too, and explain nothing: {named}", soft_wrap=True)
    for line in advice(found):
        console.print(line, soft_wrap=True)


def show_code(found: Difference) -> None:
    """Print the patch between the two runs' code: to the byte, for `git apply`, but tamed on a terminal."""
    if sys.stdout.isatty():
        for line in found.code.patch.decode("utf-8", "replace").split("\n"):
            print(line.replace("\t", "    ") if line.isprintable() else one_line(line.replace("\t", "    "), 10_000))
    else:
        sys.stdout.buffer.write(found.code.patch)
        sys.stdout.flush()
    for untold in found.untold:
        if untold.kind == "code":
            print(f"cannot be told (code): {one_line(untold.why, 300)}", file=sys.stderr)
