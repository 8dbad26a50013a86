"""Data version tracked: the run records which data it read in three places, and the data there now is the same."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..display import one_line
from ..errors import Violation
from ..provenance.data import current_data, differences, digests
from .item import Observation
from .review import Review

if TYPE_CHECKING:
    from mlflow.entities import Run


def inspect(review: Review) -> Iterator[Observation]:
    """Compare the run's tag, param and dataset input with each other and with the data at that path now."""
    recorded = review.run.recorded
    run, path = recorded.run, str(recorded.values["data"]["path"])
    version = recorded.manifest["tags"].get("data_version", "none")
    for place, found in (
        ("tag", run.data.tags.get("data_version")),
        ("param", recorded.params.get("data_version")),
        ("dataset input", version if version in _dataset_versions(run) else None),
    ):
        if found != version:
            problem = f"the run's {place} is {one_line(found or 'missing', 80)}, its manifest says {version}"
            yield Violation("data_version", problem, "train anew: nothing mends a run afterwards")
    now = current_data(recorded.values, recorded.data_not_versioned)
    if now.version == version:
        size = f"{len(now.files)} file{'s' * (len(now.files) != 1)}, {now.size:,} bytes"
        yield f"{one_line(path)} is {version[:19]}… ({size}), now and in the run: as tag, param and dataset input"
        return
    needed = {file["path"]: file["digest"] for file in recorded.manifest["data_files"]}
    changes = "; ".join(differences(needed, digests(now.files), path))
    problem = f"{one_line(path)} is {now.version[:19]}… now and was {version[:19]}… in the run ({changes})"
    yield Violation("data_version", problem, "train anew on this data, or bring the run's back")


def _dataset_versions(run: "Run") -> set[str]:
    """Return the data versions in the sources of the run's dataset inputs.

    MLflow's own digest of an input has room for the beginning of a version only; both must agree.
    """
    versions = set()
    for used in run.inputs.dataset_inputs if run.inputs else ():
        try:
            version = json.loads(used.dataset.source)["version"]
        except (ValueError, KeyError, TypeError):
            continue
        if str(version).partition(":")[2][:32] == used.dataset.digest:
            versions.add(version)
    return versions
