"""What a run records of its provenance when it starts: params and tags, the data as its dataset, and the evidence."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..evidence import EVIDENCE, size_problem
from ..provenance.gather import Provenance

if TYPE_CHECKING:
    from mlflow import MlflowClient

_BATCH = 100  # MLflow accepts so many params in one request


def record(client: "MlflowClient", run_id: str, provenance: Provenance, tags: Mapping[str, str] | None = None) -> None:
    """Log params (and *tags*) in one batch, the data version as the run's dataset, and the evidence."""
    from mlflow.entities import Param, RunTag

    params = [Param(key, value) for key, value in provenance.params.items()]
    client.log_batch(run_id, params=params[:_BATCH], tags=[RunTag(key, value) for key, value in (tags or {}).items()])
    for start in range(_BATCH, len(params), _BATCH):
        client.log_batch(run_id, params=params[start : start + _BATCH])
    _log_dataset(client, run_id, provenance)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in provenance.evidence.items():
            # What is too large is left out. Only a policy that records violations lets such a run begin.
            if size_problem(name, len(content)) is None:
                Path(folder, name).write_bytes(content)
        client.log_artifacts(run_id, folder, EVIDENCE)


def _log_dataset(client: "MlflowClient", run_id: str, provenance: Provenance) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    if provenance.data is None:  # it cannot be read, and the policy only records that
        return
    path = str(provenance.values["data"]["path"])
    version = provenance.data.version
    # MLflow keeps 36 characters of a dataset's digest. The whole version is in the dataset's source and in a tag.
    source = json.dumps({"path": path, "version": version})
    dataset = Dataset(Path(path).name, version.partition(":")[2][:32], "local", source)
    inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
    try:
        client.log_inputs(run_id, datasets=inputs)
    except Exception as error:
        # MLflow first asks whether the dataset is recorded and then adds it. When two runs do that at the same moment,
        # the second one fails; when it tries again, the dataset is there.
        if "IntegrityError" not in str(error):
            raise
        client.log_inputs(run_id, datasets=inputs)
