"""Runs in the shape of the lecture: they are started with MLflow, and call both functions of the machinery."""

import mlflow
from penguin_classifier.config import ExperimentConfig
from reproducibility import PROJECT_ROOT, load, log_reproducibility_info, tracking_uri, validate_required_tags

DATA = {"path": "data/penguins.csv"}


def experiment(name: str, *config: object, is_logged: bool = True, is_spoiled: bool = False) -> None:
    try:
        with mlflow.start_run(run_name=name):
            if is_logged:
                log_reproducibility_info(*config)
            if is_spoiled:
                mlflow.set_tag("author", "")
            mlflow.log_metric("accuracy", 1.0)
            validate_required_tags()
    except Exception as error:
        print(name, type(error).__name__, error)


mlflow.set_tracking_uri(tracking_uri())
mlflow.set_experiment("lecture")
experiment("base")
experiment("file", load(PROJECT_ROOT / "configs" / "experiment.yaml", ExperimentConfig, ["model.n_estimators=5"]))
experiment("values", {"seed": 3, "data": DATA})
experiment("no seed", {"seed": None, "data": DATA})
experiment("spoiled", is_spoiled=True)
experiment("not logged", is_logged=False)
for outside in (log_reproducibility_info, validate_required_tags):
    try:
        outside()
    except Exception as error:
        print("outside", type(error).__name__, error)
