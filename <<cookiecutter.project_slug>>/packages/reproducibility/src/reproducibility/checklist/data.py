"""Data version tracked: the run says which data it read, in three places, and that is the data which is there now."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..display import one_line
from ..errors import Violation
from ..provenance.data import current_data, differences
from .item import Seen
from .review import Review

if TYPE_CHECKING:
    from mlflow.entities import Run


_ANEW = "train anew: nothing mends a run afterwards"


def look(review: Review) -> Iterator[Seen]:
    """Compare the run's tag, param and dataset input with each other and with the data at that path now."""
    recorded = review.run.recorded
    run, path = recorded.run, str(recorded.values["data"]["path"])
    version = recorded.manifest["tags"].get("data_version", "none")
    for place, told in (
        ("tag", run.data.tags.get("data_version")),
        ("param", recorded.params.get("data_version")),
        ("dataset input", version if version in _inputs(run) else None),
    ):
        if told != version:
            problem = f"the run's {place} is {one_line(told or 'missing', 80)}, its manifest says {version}"
            yield Violation("data_version", problem, _ANEW)
    now = current_data(recorded.values)
    if now.version == version:
        size = f"{len(now.files)} file{'s' * (len(now.files) != 1)}, {now.size:,} bytes"
        yield f"{one_line(path)} is {version[:19]}… ({size}), now and in the run: as tag, param and dataset input"
        return
    needed = {file["path"]: file["digest"] for file in recorded.manifest["data_files"]}
    there = "; ".join(differences(needed, {file.path: file.digest for file in now.files}, path))
    problem = f"{one_line(path)} is {now.version[:19]}… now and was {version[:19]}… in the run ({there})"
    yield Violation("data_version", problem, "train anew on this data, or bring the run's back")


def _inputs(run: "Run") -> set[str]:
    """Return the data versions that the run's dataset inputs name; MLflow's own digest of them is too short for one."""
    versions = set()
    for used in run.inputs.dataset_inputs if run.inputs else ():
        try:
            version = json.loads(used.dataset.source)["version"]
        except (ValueError, KeyError, TypeError):
            continue
        if str(version).partition(":")[2][:32] == used.dataset.digest:
            versions.add(version)
    return versions
