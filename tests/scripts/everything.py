"""Prints all runs of the server that the environment names, and the digest of each of their files, as JSON."""

import hashlib
import json
import tempfile
from pathlib import Path

import mlflow

known = {}
client = mlflow.MlflowClient()
for run in client.search_runs([each.experiment_id for each in client.search_experiments()]):
    with tempfile.TemporaryDirectory() as folder:
        mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=folder)
        files = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }
    known[run.info.run_id] = {
        "status": run.info.status,
        "started": run.info.start_time,
        "ended": run.info.end_time,
        "tags": run.data.tags,
        "params": run.data.params,
        "metrics": run.data.metrics,
        "files": files,
    }
print(json.dumps(known))
