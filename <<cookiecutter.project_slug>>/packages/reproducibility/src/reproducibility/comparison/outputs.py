"""A comparison of what two runs put out: each metric at each step, each file, model and param of their own."""

import gzip
import io
import json
import re
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from blake3 import blake3

from ..digest import digest
from ..display import one_line
from ..evidence import EVIDENCE
from ..policy import Tolerance
from ..tags import PARENT_TAG
from ..tracking.recorded import readable, search_runs
from ..tracking.store import reachable
from .metrics import NOTHING, History, first_divergence, histories

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


def compare_outputs(
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


_OF_ONE_RUN = ("artifact_path", "model_id", "model_size_bytes", "model_uuid", "run_id", "utc_time_created")
_ENVIRONMENTS = ("conda.yaml", "python_env.yaml")
_INSTALLER = re.compile(r"(pip|python|setuptools|wheel)\s*[=<>!~].*")
_PYTHON = ("python", "python_version")
_GZIP = b"\x1f\x8b"


def content_digest(path: Path) -> str:
    """Return the digest of the content of the file *path*: ``blake3:`` and 64 hexadecimal digits."""
    # A file that is not what its name or its first bytes say is compared as it is.
    try:
        if path.name == "MLmodel":
            return _of_model(path)
        if path.name in _ENVIRONMENTS and path.with_name("MLmodel").exists():
            return digest(_canonical(_lasting(yaml.safe_load(path.read_bytes()))))
        with path.open("rb") as stream:
            is_gzip = stream.read(2) == _GZIP
        if is_gzip:
            return digest(gzip.decompress(path.read_bytes()))
        if zipfile.is_zipfile(path):
            return _of_zip(path)
    except (ValueError, OSError, EOFError, RuntimeError, yaml.YAMLError, zipfile.BadZipFile, zlib.error):
        pass
    hasher = blake3(max_threads=blake3.AUTO)
    if path.stat().st_size:  # an empty file cannot be mapped
        hasher.update_mmap(path)
    return f"blake3:{hasher.hexdigest()}"


def folder_digest(folder: Path, files: Iterable[str]) -> str:
    """Return the digest of the names and contents of *files*, posix paths in *folder*: of a whole model."""
    return digest(_canonical([[name, content_digest(folder / name)] for name in sorted(files)]))


def _of_model(path: Path) -> str:
    fields = yaml.safe_load(path.read_bytes())
    return digest(
        _canonical(_lasting({name: value for name, value in dict(fields).items() if name not in _OF_ONE_RUN}))
    )


def _lasting(value: Any) -> Any:
    """Return *value* without the version of Python, and of each installer that is listed in it only the name."""
    if isinstance(value, dict):
        # Among others there is a flavor called python_function, and a key called python that holds no version.
        return {key: _lasting(inner) for key, inner in value.items() if not (key in _PYTHON and isinstance(inner, str))}
    if isinstance(value, list):
        return [_lasting(inner) for inner in value]
    return found[1] if isinstance(value, str) and (found := _INSTALLER.fullmatch(value)) else value


def _of_zip(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        digests = {name: digest(archive.read(name)) for name in archive.namelist()}
        if path.suffix == ".skops":
            tree = json.load(io.BytesIO(archive.read("schema.json")), object_hook=lambda node: _unplaced(node, digests))
            # The arrays stand in the tree, by their digests.
            return digest(_canonical(tree))
    return digest(_canonical(sorted(digests.items())))


def _unplaced(node: dict[str, Any], digests: dict[str, str]) -> dict[str, Any]:
    """Return a node of skops' tree without its address, and with an array's digest for its name."""
    if isinstance(node.get("__id__"), int):
        del node["__id__"]
    if isinstance(node.get("file"), str):
        node["file"] = digests.get(node["file"], node["file"])
    return node


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()


@dataclass(frozen=True)
class Pair:
    """A run and the one that repeats it, by their ids; None where there is none. name: empty for the outermost run."""

    name: str
    first: str | None
    second: str | None
    findings: tuple[Finding, ...]

    @property
    def outcome(self) -> Outcome:
        return worst(finding.outcome for finding in self.findings)


def compare_runs(
    client: "MlflowClient", first: "Run", second: "Run", tolerance: Tolerance, own: frozenset[str]
) -> tuple[Pair, ...]:
    """Return what became of *first* in *second*, and of every run inside it in the one that repeats that.

    own: the names of the params that the config gave, which are no result.
    """
    with reachable(client.tracking_uri):
        return tuple(_compare_runs(client, "", first, second, tolerance, own))


def _compare_runs(
    client: "MlflowClient", name: str, first: "Run", second: "Run", tolerance: Tolerance, own: frozenset[str]
) -> Iterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="outputs-") as folder:
        findings = compare_outputs(client, first, second, tolerance, own, Path(folder))
    yield Pair(name, first.info.run_id, second.info.run_id, findings)
    for inner, one, other in _paired(_inside(client, first), _inside(client, second)):
        inner = f"{name}/{inner}" if name else inner
        if one is not None and other is not None:
            yield from _compare_runs(client, inner, one, other, tolerance, own)
        else:
            ids = tuple(run.info.run_id if run is not None else None for run in (one, other))
            yield Pair(inner, *ids, (Finding("run", inner, Outcome.DIFFERENT, *ids),))


def _inside(client: "MlflowClient", run: "Run") -> "list[Run]":
    """Return the runs right inside *run*, the oldest first."""
    runs = search_runs(client, f"tags.`{PARENT_TAG}` = '{run.info.run_id}'")
    return sorted(runs, key=lambda each: each.info.start_time)


def _paired(first: "list[Run]", second: "list[Run]") -> "Iterator[tuple[str, Run | None, Run | None]]":
    """Pair runs by their names, those of one name in their order, and what is left over in its order too."""
    rest = list(second)
    unnamed = []
    for run in first:
        same = next((other for other in rest if other.info.run_name == run.info.run_name), None)
        if same is None:
            unnamed.append(run)
        else:
            rest.remove(same)
            yield run.info.run_name, run, same
    # A name that MLflow made up may be another one each time.
    for position in range(max(len(unnamed), len(rest))):
        one = unnamed[position] if position < len(unnamed) else None
        other = rest[position] if position < len(rest) else None
        yield (one or other).info.run_name, one, other
