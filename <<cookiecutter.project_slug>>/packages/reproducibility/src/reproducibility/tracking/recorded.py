"""A recorded run: found in the tracking store by what a person calls it, and read together with its evidence."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from os.path import isabs
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.loader import config_digest
from ..config.yaml import decoded, parse_yaml
from ..digest import canonical, digest
from ..display import one_line
from ..errors import Refused, Unreadable, Violation
from ..evidence import CONFIG, EVIDENCE, MANIFEST, PATCH, manifest_in
from ..provenance.gather import author
from ..secrets import recordable, without_credentials
from ..tags import ORIGIN_TAGS, PARENT_TAG, REPRODUCES
from .store import reachable, require_at_home

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


_LAST = re.compile(r"last(?:~(\d{1,5}))?")
_PREFIX = re.compile(r"[0-9a-f]{4,31}")
_SHOWN = 5


@contextmanager
def readable(client: "MlflowClient", run: "Run", what: str) -> Iterator[None]:
    """Turn what is raised while *what* of *run* is read into Unreadable, unless the tracking store itself is away."""
    try:
        yield
    except Exception as error:  # of any kind: each sort of place has its own library, which may be missing
        client.get_run(run.info.run_id)  # raises where the whole store is away
        problem = f"{what} cannot be read ({one_line(recordable(error), 300)})"
        fix = f"bring it back, or let this machine read {without_credentials(run.info.artifact_uri)}"
        raise Unreadable([Violation(f"run {run.info.run_id}", problem, fix)]) from error


@dataclass(frozen=True)
class RecordedRun:
    """A run as the tracking store has it, with the files of its evidence: {name: content}, empty if it has none.

    A run inside another one that has none of its own is part of that one: evidence and params are those of its parent.
    """

    run: "Run"
    experiment: str
    evidence: Mapping[str, bytes]
    params: Mapping[str, str]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The run's manifest; raises evidence.ManifestError, with what is wrong as a clause."""
        return manifest_in(self.evidence)

    @cached_property
    def values(self) -> dict[str, Any]:
        """The run's resolved config; raises Refused where it cannot be read."""
        return parse_yaml(decoded(self.evidence[CONFIG], CONFIG), CONFIG)[0]

    @property
    def patch(self) -> bytes:
        """What the run's code differed in from its commit; empty when nothing."""
        return self.evidence.get(PATCH, b"")

    @property
    def manifest_digest(self) -> str:
        """The digest of the manifest as it is now; raises ManifestError."""
        return digest(canonical(self.manifest))


def find_run(client: "MlflowClient", reference: str) -> "Run":
    """Return the run that *reference* means: an id, the unique beginning of one, ``last`` or ``last~1``.

    ``last`` is the newest run of whoever asks, ``last~1`` the one before it; runs inside other runs and runs that
    repeat others do not count.
    Raises Refused when there is no such run, or more than one, which are then listed.
    """
    if last := _LAST.fullmatch(reference):
        return _last(client, int(last[1] or 0))
    with reachable(client.tracking_uri):
        if _PREFIX.fullmatch(reference):
            runs = search_runs(client, f"attributes.run_id LIKE '{reference}%'", _SHOWN + 1)
            if len(runs) > 1:
                shown = ", ".join(run.info.run_id for run in runs[:_SHOWN]) + (" ..." if len(runs) > _SHOWN else "")
                raise Refused([Violation("run id", f"{reference!r} begins more than one: {shown}", "give more of it")])
            if runs:
                return runs[0]
        elif (run := _get(client, reference)) is not None:
            return run
    fix = "copy the id from the run's page or from what the training printed; MLFLOW_TRACKING_URI says where to look"
    raise Refused(
        [Violation("run id", f"{without_credentials(client.tracking_uri)} has no run {reference[:80]!r}", fix)]
    )


def read_run(client: "MlflowClient", run: "Run") -> RecordedRun:
    """Return *run* with its evidence, fetched from where its files are kept.

    Raises Unreadable where that is no place to read from, StoreUnavailable where the tracking store is away.
    """
    with reachable(client.tracking_uri):
        experiment = client.get_experiment(run.info.experiment_id)
        require_at_home(client.tracking_uri, experiment)
        evidence, params = _evidence(client, run), run.data.params
        outer, seen = run, {run.info.run_id}
        while MANIFEST not in evidence and (parent := outer.data.tags.get(PARENT_TAG, "")) not in seen:
            seen.add(parent)
            if (outer := _get(client, parent)) is None:
                break
            evidence, params = _evidence(client, outer), outer.data.params
    return RecordedRun(run, experiment.name, evidence, params)


def _evidence(client: "MlflowClient", run: "Run") -> dict[str, bytes]:
    with readable(client, run, "its evidence"), tempfile.TemporaryDirectory() as folder:
        if any(file.path == EVIDENCE for file in client.list_artifacts(run.info.run_id)):
            client.download_artifacts(run.info.run_id, EVIDENCE, folder)
        files = sorted(Path(folder, EVIDENCE).rglob("*"))
        return {
            file.relative_to(Path(folder, EVIDENCE)).as_posix(): file.read_bytes() for file in files if file.is_file()
        }


def _get(client: "MlflowClient", run_id: str) -> "Run | None":
    from mlflow.exceptions import MlflowException

    if not run_id:
        return None
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def _last(client: "MlflowClient", back: int) -> "Run":
    who = author()
    if "'" in who and '"' in who:
        fix = "give the run's id"
        raise Refused(
            [Violation("run id", f"the runs of {who} cannot be searched for, with both kinds of quotes", fix)]
        )
    quote = '"' if "'" in who else "'"
    with reachable(client.tracking_uri):
        own = f"tags.author = {quote}{who}{quote} AND tags.`{PARENT_TAG}` IS NULL AND tags.`{REPRODUCES}` IS NULL"
        runs = search_runs(client, own, back + 1)
    if len(runs) <= back:
        fix = "train one, or give the run's id"
        known = f"{len(runs)} run{'s' * (len(runs) != 1)} of {who}"
        raise Refused([Violation("run id", f"{without_credentials(client.tracking_uri)} has {known}", fix)])
    return runs[back]


def search_runs(client: "MlflowClient", condition: str, most: int = 1000) -> "list[Run]":
    """Return the newest runs of all experiments that meet *condition*, at most *most*, the newest first."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments(max_results=50_000)]
    return list(client.search_runs(experiments, condition, max_results=most, order_by=["attributes.start_time DESC"]))


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
        run = find_run(client, parent)
    return run


def origin_differences(first: RecordedRun, second: RecordedRun) -> list[tuple[str, str, str]]:
    """Return what *second*, which should repeat *first*, was made from that *first* was not, as (tag, first, second).

    Data that *first* names by an absolute path may lie elsewhere: then its version alone has to be the same. Raises
    ManifestError or Refused where one of them cannot be read.
    """
    tags = [
        recorded.manifest["tags"] | {"config_digest": config_digest(_placeless(recorded.values, first))}
        for recorded in (first, second)
    ]
    return [
        (tag, *(each.get(tag, "none") for each in tags)) for tag in ORIGIN_TAGS if tags[0].get(tag) != tags[1].get(tag)
    ]


def _placeless(values: Mapping[str, Any], first: RecordedRun) -> dict[str, Any]:
    return {**values, "data": {**values["data"], "path": ""}} if isabs(first.values["data"]["path"]) else dict(values)
