"""A recorded run: found in the tracking store by what a person calls it, and read together with its evidence."""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import islice
from operator import attrgetter
from os.path import isabs
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..config.values import config_digest
from ..config.yaml import decoded, parse_yaml
from ..delivery.journal import Journal, journals
from ..digest import canonical, digest
from ..display import listed, one_line
from ..errors import Unreadable, Violation, refuse
from ..evidence import CONFIG, EVIDENCE, MANIFEST, PATCH, manifest_in
from ..provenance.gather import author
from ..rules import outward
from ..secrets import recordable, without_credentials
from ..tags import ORIGIN_TAGS, PARENT_TAG, REPRODUCES, SWEEP_TAG, TRIAL_TAG
from .store import reachable, require_not_moved

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, LoggedModelOutput, Run

_LAST = re.compile(r"last(?:~(\d{1,5}))?")
_PREFIX = re.compile(r"[0-9a-f]{4,31}")
_PAGE = 1000  # runs in one answer of the store


@contextmanager
def readable(client: "MlflowClient", run: "Run", what: str) -> Iterator[None]:
    """Turn every error that is raised while *what* of *run* is read into Unreadable, except an outage of the store."""
    try:
        yield
    except Exception as error:  # of any kind: S3, HTTP and files have libraries of their own, which may be missing
        client.get_run(run.info.run_id)  # raises if the whole store is unreachable
        problem = f"{what} cannot be read ({one_line(recordable(error), 300)})"
        fix = f"bring it back, or let this machine read {without_credentials(run.info.artifact_uri)}"
        raise Unreadable([Violation(f"run {run.info.run_id}", problem, fix)]) from error


@dataclass(frozen=True)
class RecordedRun:
    """A run as the tracking store has it, with the files of its evidence: {name: content}, empty if it has none.

    A nested run without evidence of its own is part of the run around it: evidence and params are those of that run.
    around: the runs around a nested run, from the inside out; it is reproduced together with them.
    """

    run: "Run"
    experiment: str
    evidence: Mapping[str, bytes]
    params: Mapping[str, str]
    around: "tuple[Run, ...]" = ()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The run's manifest; raises evidence.ManifestError, with what is wrong as a clause."""
        return manifest_in(self.evidence)

    @cached_property
    def values(self) -> dict[str, Any]:
        """The run's resolved config; raises Refused where it cannot be read."""
        return parse_yaml(decoded(self.evidence[CONFIG], CONFIG), CONFIG)[0]

    @property
    def data_not_versioned(self) -> tuple[str, ...]:
        """The patterns of the files that the run's data version leaves out; raises evidence.ManifestError."""
        return tuple(self.manifest["policy"].get("data_not_versioned", ()))

    @property
    def patch(self) -> bytes:
        """The difference between the run's code and its commit; empty if there is none."""
        return self.evidence.get(PATCH, b"")

    @property
    def manifest_digest(self) -> str:
        """The digest of the manifest as it is now; raises ManifestError."""
        return digest(canonical(self.manifest))


def find_run(client: "MlflowClient", reference: str) -> "Run":
    """Return the run that *reference* means: an id, the unique beginning of one, ``last`` or ``last~1``.

    ``last`` is the newest run of the author who asks, ``last~1`` the one before it. Nested runs, reproductions and
    sweeps are not counted. Raises Refused if there is no such run, or more than one.
    """
    if last := _LAST.fullmatch(reference):
        return _last(client, int(last[1] or 0))
    _require_begun(client, reference)
    with reachable(client.tracking_uri):
        if _PREFIX.fullmatch(reference):
            runs = search_runs(client, f"attributes.run_id LIKE '{reference}%'")
            if len(runs) > 1:
                ids = listed(run.info.run_id for run in runs)
                refuse("run id", f"{reference!r} is the beginning of more than one: {ids}", "give more of it")
            if runs:
                return runs[0]
        elif (run := _get(client, reference)) is not None:
            return run
    fix = "copy the id from the run's page or from what the training printed; MLFLOW_TRACKING_URI says where to look"
    refuse("run id", f"{without_credentials(client.tracking_uri)} has no run {reference[:80]!r}", fix)


def _require_begun(client: "MlflowClient", reference: str) -> None:
    """Raise Refused if the run is on this machine only, because it was begun offline."""
    begun_here = (Journal.find(folder.name) for folder in journals() if reference and folder.name.startswith(reference))
    if any(journal is not None and not journal.header.is_created for journal in begun_here):
        problem = f"{without_credentials(client.tracking_uri)} does not have run {reference[:80]} yet"
        refuse("run id", problem, "repro sync ships it from this machine")


def read_run(client: "MlflowClient", run: "Run", experiment: "Experiment | None" = None) -> RecordedRun:
    """Return *run* with its evidence, downloaded from where its files are kept.

    The store is asked for the *experiment* of the run, unless it is given.

    Raises Unreadable if the files cannot be read, and StoreUnavailable if the tracking store is unreachable.
    """
    with reachable(client.tracking_uri):
        experiment = experiment or client.get_experiment(run.info.experiment_id)
        require_not_moved(client.tracking_uri, experiment)
        runs = list(outward(run, attrgetter("data.tags"), partial(_get, client)))
        for each in runs:
            if MANIFEST in (evidence := _evidence(client, each)):
                break
    return RecordedRun(run, experiment.name, evidence, each.data.params, tuple(runs[1:]))


def _evidence(client: "MlflowClient", run: "Run") -> dict[str, bytes]:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    uri = run.info.artifact_uri
    with readable(client, run, "its evidence"):
        if is_local_uri(uri, is_tracking_or_registry_uri=False):
            return _files_in(Path(local_file_uri_to_path(uri), EVIDENCE))
        # With the run's own address of its files: MLflow's client asks the server for the run again, to learn it.
        repository = get_artifact_repository(uri, tracking_uri=client.tracking_uri)
        if isinstance(repository, HttpArtifactRepository):
            # Without the question whether large files may be downloaded from elsewhere: these are small.
            repository = HttpArtifactRepository(repository.artifact_uri)
        # A download lists the folder twice.
        repository.list_artifacts = cache(repository.list_artifacts)
        with tempfile.TemporaryDirectory() as folder:
            if repository.list_artifacts(EVIDENCE):
                repository.download_artifacts(EVIDENCE, folder)
            return _files_in(Path(folder, EVIDENCE))


def _files_in(folder: Path) -> dict[str, bytes]:
    """Return {posix path: content} of the files in *folder*; none if there is no such folder."""
    if not folder.exists():
        return {}
    places = [Path(place, name) for place, _, names in os.walk(folder, onerror=_raise) for name in names]
    return {place.relative_to(folder).as_posix(): place.read_bytes() for place in sorted(places)}


def _raise(error: OSError) -> NoReturn:
    raise error


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
        refuse("run id", f"MLflow cannot search for {who}, a name with both kinds of quotes", "give the run's id")
    quote = '"' if "'" in who else "'"
    with reachable(client.tracking_uri):
        without = " AND ".join(f"tags.`{tag}` IS NULL" for tag in (PARENT_TAG, REPRODUCES, SWEEP_TAG))
        runs = search_runs(client, f"tags.author = {quote}{who}{quote} AND {without}", back + 1)
    if len(runs) <= back:
        known = f"{len(runs)} run{'s' * (len(runs) != 1)} of {who}"
        fix = "train one, or give the run's id"
        refuse("run id", f"{without_credentials(client.tracking_uri)} has {known}", fix)
    return runs[back]


def search_runs(client: "MlflowClient", condition: str, most: int | None = None) -> "list[Run]":
    """Return the runs of all experiments that meet *condition*, the newest first; with *most*, no more than that."""
    experiments = [experiment.experiment_id for experiment in pages(client.search_experiments)]
    options = {"max_results": min(most or _PAGE, _PAGE), "order_by": ["attributes.start_time DESC"]}
    runs = pages(client.search_runs, experiment_ids=experiments, filter_string=condition, **options)
    return list(islice(runs, most))


def pages(search: Callable[..., Any], **arguments: object) -> Iterator[Any]:
    """Yield everything that *search*, a method of MLflow's client, finds with *arguments*, one page after the other."""
    token = None
    while True:
        page = search(**arguments, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def outermost(client: "MlflowClient", run: "Run") -> "Run":
    """Return the run that *run* is nested in, at the outermost level; *run* itself if it is nested in none.

    Raises Refused if a run on the way is not recorded, or if altered tags lead in a circle.
    """
    *_, last = outward(run, attrgetter("data.tags"), partial(find_run, client))
    if (parent := last.data.tags.get(PARENT_TAG)) and TRIAL_TAG not in last.data.tags:
        _refuse_circle(last, parent)
    return last


def require_no_circle(client: "MlflowClient", run: "Run") -> None:
    """Raise Refused if altered tags say that *run* is nested in itself; a parent may be missing."""
    with reachable(client.tracking_uri):
        around = list(outward(run, attrgetter("data.tags"), partial(_get, client)))
    parent = around[-1].data.tags.get(PARENT_TAG)
    if parent in {each.info.run_id for each in around}:
        _refuse_circle(around[-1], parent)


def _refuse_circle(run: "Run", parent: str) -> NoReturn:
    problem = f"its tags say that it is nested in {parent[:40]}, which is nested in it"
    refuse(f"run {run.info.run_id}", problem, "choose another: somebody altered its tags")


def model_outputs(run: "Run") -> "list[LoggedModelOutput]":
    """Return the id and the step of each model that *run* logged."""
    return list(run.outputs.model_outputs) if run.outputs else []


def origin_differences(original: RecordedRun, reproduction: RecordedRun) -> list[tuple[str, str, str]]:
    """Return how the origins of two runs differ, such as their commits, as (tag, of *original*, of *reproduction*).

    If *original* names its data by an absolute path, the data of *reproduction* may have another path: only the
    versions are compared then. Raises ManifestError or Refused if one of the runs cannot be read.
    """
    tags = [
        recorded.manifest["tags"] | {"config_digest": config_digest(_without_place(recorded.values, original))}
        for recorded in (original, reproduction)
    ]
    return [
        (tag, *(each.get(tag, "none") for each in tags)) for tag in ORIGIN_TAGS if tags[0].get(tag) != tags[1].get(tag)
    ]


def _without_place(values: Mapping[str, Any], original: RecordedRun) -> dict[str, Any]:
    """Return *values* without the path of the data, if the path in *original* is absolute."""
    if isabs(original.values["data"]["path"]):
        return {**values, "data": {**values["data"], "path": ""}}
    return dict(values)
