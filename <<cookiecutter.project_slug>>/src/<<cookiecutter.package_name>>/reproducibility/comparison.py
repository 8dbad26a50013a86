"""A comparison of what two runs put out: each metric at each step, each file, model and param of their own."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from .content import content_digest, folder_digest
from .evidence import EVIDENCE
from .metric_history import NOTHING, History, first_divergence, histories
from .place import one_line
from .policy import Tolerance
from .recorded_run import readable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class Outcome(StrEnum):
    """How much two runs agree, from the most to the least."""

    IDENTICAL = "identical"
    WITHIN = "within tolerance"
    DIFFERENT = "different"


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the outcome that agrees least; identical when there is nothing that could differ."""
    return max(outcomes, key=list(Outcome).index, default=Outcome.IDENTICAL)


@dataclass(frozen=True)
class Finding:
    """One thing that was compared.

    kind: ``metric``, ``param``, ``file``, ``model`` or ``run``.
    name: its own; of a run that the other one has no counterpart of, the names of the runs around it before it.
    first, second: what the runs recorded, None where one of them did not. Of a metric it is the last value, or that of
    *step*, at which the two begin to differ. Of a file or model it is the digest of the content.
    values: how many values it is about.
    """

    kind: str
    name: str
    outcome: Outcome
    first: float | str | None
    second: float | str | None
    step: int | None = None
    values: int = 1

    def __str__(self) -> str:
        """Say in one line what differs."""
        name = f"{self.kind} {one_line(self.name, 200)}"
        at = "" if self.step is None else f" at step {self.step}"
        if self.second is None or self.first is None:
            there, absent = ("first", "second") if self.second is None else ("second", "first")
            return f"{name}{at} is in the {there} run and not in the {absent}"
        if self.kind in ("file", "model"):
            return f"{name} has another content"
        return f"{name}{at} is {shown(self.first)} and {shown(self.second)}"


def shown(value: float | str | None) -> str:
    """Return *value* so that two different ones look different."""
    return "" if value is None else one_line(value, 40) if isinstance(value, str) else repr(value)


def first_difference(findings: Iterable[Finding], outcome: Outcome = Outcome.DIFFERENT) -> Finding | None:
    """Return the earliest of the *findings* with *outcome*: of metrics the one at the lowest step, then the rest."""
    order = {"run": 0, "metric": 1, "param": 2, "model": 3, "file": 4}
    found = [finding for finding in findings if finding.outcome is outcome]
    return min(found, key=lambda each: (order[each.kind], each.step or 0, each.name), default=None)


def compare(
    client: "MlflowClient", first: "Run", second: "Run", tolerance: Tolerance, own: frozenset[str], folder: Path
) -> tuple[Finding, ...]:
    """Return what became of everything that *first* or *second* recorded; what *tolerance* leaves out is in neither.

    own: the params that come from the config, which the runs were given and did not find out. *folder*, an empty one,
    takes the runs' files.
    """
    findings = [
        *_metrics(client, first, second, tolerance),
        *_texts("param", *({k: v for k, v in run.data.params.items() if k not in own} for run in (first, second))),
        *_outputs(client, first, second, tolerance, folder),
    ]
    return tuple(findings)


def _is_compared(name: str, tolerance: Tolerance) -> bool:
    return not any(fnmatchcase(name, pattern) for pattern in tolerance.not_compared)


def _metrics(client: "MlflowClient", first: "Run", second: "Run", tolerance: Tolerance) -> Iterator[Finding]:
    ours, theirs = histories(client, first), histories(client, second)
    for name in sorted(ours.keys() | theirs.keys()):
        if _is_compared(name, tolerance):
            last = (first.data.metrics.get(name), second.data.metrics.get(name))
            yield _metric(name, ours.get(name, NOTHING), theirs.get(name, NOTHING), last, tolerance)


def _metric(
    name: str, ours: History, theirs: History, last: tuple[float | None, float | None], tolerance: Tolerance
) -> Finding:
    count = max(len(ours), len(theirs))
    # MLflow keeps the last value beside the history, and shows that one.
    if any(
        value is not None and not history.ends_in(value) for history, value in zip((ours, theirs), last, strict=True)
    ):
        return Finding("metric", name, Outcome.DIFFERENT, *last, values=count)
    if (parting := first_divergence(ours, theirs)) is None:
        return Finding("metric", name, Outcome.IDENTICAL, *last, values=count)
    outcome = Outcome.WITHIN
    if (too_far := first_divergence(ours, theirs, tolerance.rtol, tolerance.atol)) is not None:
        outcome, parting = Outcome.DIFFERENT, too_far
    values = (next(iter(parting.a), None), next(iter(parting.b), None))
    return Finding("metric", name, outcome, *values, parting.step, count)


def _texts(kind: str, first: Mapping[str, str], second: Mapping[str, str]) -> Iterator[Finding]:
    for name in sorted(first.keys() | second.keys()):
        one, other = first.get(name), second.get(name)
        yield Finding(kind, name, Outcome.IDENTICAL if one == other else Outcome.DIFFERENT, one, other)


def _outputs(
    client: "MlflowClient", first: "Run", second: "Run", tolerance: Tolerance, folder: Path
) -> Iterator[Finding]:
    files, models = [], []
    for number, run in enumerate((first, second)):
        place = folder / str(number)
        place.mkdir()
        with readable(client, run, "what it put out"):
            files.append({name: content_digest(place / name) for name in _fetched(client, run, place, tolerance)})
            models.append(dict(_models(client, run, folder / f"models-{number}", tolerance)))
    yield from _texts("model", *models)
    yield from _texts("file", *files)


def _fetched(client: "MlflowClient", run: "Run", place: Path, tolerance: Tolerance) -> list[str]:
    """Fetch what *run* put out, its evidence aside; return the names of the files in *place*."""
    for entry in client.list_artifacts(run.info.run_id):
        if entry.path != EVIDENCE and _is_compared(entry.path, tolerance):
            client.download_artifacts(run.info.run_id, entry.path, str(place))
    return _files(place, tolerance)


def _models(client: "MlflowClient", run: "Run", folder: Path, tolerance: Tolerance) -> Iterator[tuple[str, str]]:
    """Yield name and digest of each model that *run* logged, in their order; the second of a name is ``name (2)``."""
    from mlflow.artifacts import download_artifacts

    outputs = run.outputs.model_outputs if run.outputs else []
    models = [(output.step, client.get_logged_model(output.model_id)) for output in outputs]
    seen: Counter[str] = Counter()
    for _, model in sorted(models, key=lambda pair: (pair[0], pair[1].creation_timestamp)):
        seen[model.name] += 1
        name = model.name if seen[model.name] == 1 else f"{model.name} ({seen[model.name]})"
        if _is_compared(name, tolerance):
            place = folder / str(sum(seen.values()))
            place.mkdir(parents=True)
            download_artifacts(artifact_uri=f"models:/{model.model_id}", dst_path=str(place))
            yield name, folder_digest(place, _files(place, tolerance))


def _files(place: Path, tolerance: Tolerance) -> list[str]:
    names = (path.relative_to(place).as_posix() for path in sorted(place.rglob("*")) if path.is_file())
    return [name for name in names if _is_compared(name, tolerance)]
