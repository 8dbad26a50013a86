"""The outputs of two runs: each metric at each step, each file, each model and each param that the code logged."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from ..display import one_line
from ..evidence import EVIDENCE
from ..policy import Tolerance
from ..tags import PARENT_TAG
from ..tracking.recorded import model_outputs, readable, require_no_circle, search_runs
from ..tracking.store import reachable
from .content import content_digest, folder_digest
from .metrics import MetricComparison, compare_metrics, first_divergence, histories

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class Outcome(StrEnum):
    """How well two runs match, the best first."""

    IDENTICAL = "identical"
    WITHIN = "within tolerance"
    DIFFERENT = "different"


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst of *outcomes*; identical if there are none."""
    return max(outcomes, key=list(Outcome).index, default=Outcome.IDENTICAL)


@dataclass(frozen=True)
class Finding:
    """The comparison of one output of two runs.

    kind: ``metric``, ``param``, ``file``, ``model`` or ``run``.
    name: for example ``loss``; of a nested run that only one side has, with its parents: ``fold 1/trial 2``.
    a, b: what the runs recorded, None where one of them did not. Of a metric: the value at *step*, the first step that
    does not match, else the final value. Of a file or a model: the digest of its content.
    values: how many values were compared.
    """

    kind: str
    name: str
    outcome: Outcome
    a: float | str | None
    b: float | str | None
    step: int | None = None
    values: int = 1

    def __str__(self) -> str:
        """Say in one line what differs."""
        name = f"{self.kind} {one_line(self.name, 200)}"
        at = "" if self.step is None else f" at step {self.step}"
        if self.a is None or self.b is None:
            there, absent = ("first", "second") if self.b is None else ("second", "first")
            return f"{name}{at} is in the {there} run and not in the {absent}"
        if self.kind in ("file", "model"):
            return f"{name} has another content"
        return f"{name}{at} is {in_full(self.a)} and {in_full(self.b)}"


def in_full(value: float | str | None) -> str:
    """Return *value* in so many digits that two different numbers look different; "" for None."""
    return "" if value is None else one_line(value, 40) if isinstance(value, str) else repr(value)


def first_difference(findings: Iterable[Finding], outcome: Outcome = Outcome.DIFFERENT) -> Finding | None:
    """Return the first of *findings* with *outcome*: a nested run, the metric with the lowest step, then the rest."""
    order = {"run": 0, "metric": 1, "param": 2, "model": 3, "file": 4}
    found = [finding for finding in findings if finding.outcome is outcome]
    return min(found, key=lambda each: (order[each.kind], each.step or 0, each.name), default=None)


@dataclass(frozen=True)
class Pair:
    """Two runs that were compared, by their ids; None where one side has no such nested run.

    name: of a nested run, for example ``fold 1/trial 2``; empty for the outermost run.
    """

    name: str
    a: str | None
    b: str | None
    findings: tuple[Finding, ...]

    @property
    def outcome(self) -> Outcome:
        return worst(finding.outcome for finding in self.findings)


def compare_runs(
    client: "MlflowClient", a: "Run", b: "Run", tolerance: Tolerance, given: frozenset[str]
) -> tuple[Pair, ...]:
    """Compare the outputs of two runs, and those of each nested run with those of its counterpart.

    given: the params that the runs started with, which are no output. Raises Refused if a run is nested in itself, and
    Unreadable and StoreUnavailable.
    """
    for run in (a, b):
        require_no_circle(client, run)
    with reachable(client.tracking_uri):
        return tuple(_pairs(client, "", a, b, tolerance, given))


def _pairs(
    client: "MlflowClient", name: str, a: "Run", b: "Run", tolerance: Tolerance, given: frozenset[str]
) -> Iterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="outputs-") as folder:
        findings = (
            *_metrics(client, a, b, tolerance),
            *_texts("param", *({k: v for k, v in run.data.params.items() if k not in given} for run in (a, b))),
            *_artifacts(client, a, b, tolerance, Path(folder)),
        )
    yield Pair(name, a.info.run_id, b.info.run_id, findings)
    for inner, one, other in _counterparts(_nested(client, a), _nested(client, b)):
        inner = f"{name}/{inner}" if name else inner
        if one is not None and other is not None:
            yield from _pairs(client, inner, one, other, tolerance, given)
        else:
            ids = tuple(run.info.run_id if run is not None else None for run in (one, other))
            yield Pair(inner, *ids, (Finding("run", inner, Outcome.DIFFERENT, *ids),))


def _nested(client: "MlflowClient", run: "Run") -> "list[Run]":
    """Return the runs directly inside *run*, the oldest first."""
    runs = search_runs(client, f"tags.`{PARENT_TAG}` = '{run.info.run_id}'")
    return sorted(runs, key=lambda each: each.info.start_time)


def _counterparts(a: "list[Run]", b: "list[Run]") -> "Iterator[tuple[str, Run | None, Run | None]]":
    """Pair runs of the same name, in their order; then pair the others in their order, with None for a missing run."""
    rest = list(b)
    unnamed = []
    for run in a:
        same = next((other for other in rest if other.info.run_name == run.info.run_name), None)
        if same is None:
            unnamed.append(run)
        else:
            rest.remove(same)
            yield run.info.run_name, run, same
    # MLflow gives a run without a name another random name each time.
    for position in range(max(len(unnamed), len(rest))):
        one = unnamed[position] if position < len(unnamed) else None
        other = rest[position] if position < len(rest) else None
        yield (one or other).info.run_name, one, other


def _metrics(client: "MlflowClient", a: "Run", b: "Run", tolerance: Tolerance) -> Iterator[Finding]:
    for metric in compare_metrics((a.data.metrics, b.data.metrics), histories(client, a, b), tolerance):
        yield _metric(metric, tolerance)


def _metric(metric: MetricComparison, tolerance: Tolerance) -> Finding:
    finals, count = (metric.a, metric.b), max(map(len, metric.histories))
    # MLflow keeps the final value beside the history, and shows only that. Somebody may have edited one of the two.
    both = zip(finals, metric.histories, strict=True)
    if any(final is not None and not history.ends_in(final) for final, history in both):
        return Finding("metric", metric.name, Outcome.DIFFERENT, *finals, values=count)
    if metric.divergence is None:
        return Finding("metric", metric.name, Outcome.IDENTICAL, *finals, values=count)
    beyond = first_divergence(*metric.histories, tolerance)
    at = beyond or metric.divergence
    outcome = Outcome.DIFFERENT if beyond else Outcome.WITHIN
    return Finding("metric", metric.name, outcome, next(iter(at.a), None), next(iter(at.b), None), at.step, count)


def _texts(kind: str, a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[Finding]:
    for name in sorted(a.keys() | b.keys()):
        outcome = Outcome.IDENTICAL if a.get(name) == b.get(name) else Outcome.DIFFERENT
        yield Finding(kind, name, outcome, a.get(name), b.get(name))


def _artifacts(client: "MlflowClient", a: "Run", b: "Run", tolerance: Tolerance, folder: Path) -> Iterator[Finding]:
    """Download models and files into *folder*, which is empty, and compare them."""
    files, models = [], []
    for number, run in enumerate((a, b)):
        own = folder / str(number)
        own.mkdir()
        with readable(client, run, "its files"):
            files.append({name: content_digest(own / name) for name in _download(client, run, own, tolerance)})
            models.append(dict(_models(client, run, folder / f"models-{number}", tolerance)))
    yield from _texts("model", *models)
    yield from _texts("file", *files)


def _download(client: "MlflowClient", run: "Run", folder: Path, tolerance: Tolerance) -> list[str]:
    """Download the files of *run* into *folder*, without its evidence; return their names."""
    for entry in client.list_artifacts(run.info.run_id):
        if entry.path != EVIDENCE and tolerance.compares(entry.path):
            client.download_artifacts(run.info.run_id, entry.path, str(folder))
    return _files(folder, tolerance)


def _models(client: "MlflowClient", run: "Run", folder: Path, tolerance: Tolerance) -> Iterator[tuple[str, str]]:
    """Yield name and digest of each model of *run*, in the order of logging; the second of a name is ``name (2)``."""
    from mlflow.artifacts import download_artifacts

    models = [(output.step, client.get_logged_model(output.model_id)) for output in model_outputs(run)]
    seen: Counter[str] = Counter()
    for _, model in sorted(models, key=lambda pair: (pair[0], pair[1].creation_timestamp)):
        seen[model.name] += 1
        name = model.name if seen[model.name] == 1 else f"{model.name} ({seen[model.name]})"
        if tolerance.compares(name):
            own = folder / str(sum(seen.values()))
            own.mkdir(parents=True)
            download_artifacts(artifact_uri=f"models:/{model.model_id}", dst_path=str(own))
            yield name, folder_digest(own, _files(own, tolerance))


def _files(folder: Path, tolerance: Tolerance) -> list[str]:
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    return list(filter(tolerance.compares, names))
