"""An experiment in the shape of the lecture: it starts its run itself."""

import os

import mlflow
from reproducibility import PROJECT_ROOT, load, log_reproducibility_info, validate_required_tags
from tiny import Tiny, learn

config = load(PROJECT_ROOT / "configs" / "tiny.yaml", Tiny)
with mlflow.start_run(run_name=os.environ.get("RUN_NAME")):
    log_reproducibility_info(config)
    learn(config)
    validate_required_tags()
