"""Kinship: runs inside runs, and which of them repeats which."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .comparison import Finding, Outcome, compare
from .judgement import PARENT_TAG
from .policy import Tolerance
from .recorded_run import find, search
from .store import reachable
from .verdict import Pair
from .violation import Refused, Violation

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def outermost(client: "MlflowClient", run: "Run") -> "Run":
    """Return the run that *run* is inside of, in the end: *run* itself if it is inside none.

    Raises Refused when that is not there.
    """
    seen = {run.info.run_id}
    while (parent := run.data.tags.get(PARENT_TAG)) is not None:
        if parent in seen:
            problem = f"it is said to be inside {parent[:40]}, and that inside it"
            raise Refused([Violation(f"run {run.info.run_id}", problem, "choose another: somebody altered its tags")])
        seen.add(parent)
        run = find(client, parent)
    return run


def compared(
    client: "MlflowClient", first: "Run", second: "Run", tolerance: Tolerance, own: frozenset[str]
) -> tuple[Pair, ...]:
    """Return what became of *first* in *second*, and of every run inside it in the one that repeats that.

    own: the names of the params that the config gave, which are no result.
    """
    with reachable(client.tracking_uri):
        return tuple(_compared(client, "", first, second, tolerance, own))


def _compared(
    client: "MlflowClient", name: str, first: "Run", second: "Run", tolerance: Tolerance, own: frozenset[str]
) -> Iterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="outputs-") as folder:
        findings = compare(client, first, second, tolerance, own, Path(folder))
    yield Pair(name, first.info.run_id, second.info.run_id, findings)
    for inner, one, other in _paired(_inside(client, first), _inside(client, second)):
        inner = f"{name}/{inner}" if name else inner
        if one is not None and other is not None:
            yield from _compared(client, inner, one, other, tolerance, own)
        else:
            ids = tuple(run.info.run_id if run is not None else None for run in (one, other))
            yield Pair(inner, *ids, (Finding("run", inner, Outcome.DIFFERENT, *ids),))


def _inside(client: "MlflowClient", run: "Run") -> "list[Run]":
    """Return the runs right inside *run*, the oldest first."""
    runs = search(client, f"tags.`{PARENT_TAG}` = '{run.info.run_id}'")
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
