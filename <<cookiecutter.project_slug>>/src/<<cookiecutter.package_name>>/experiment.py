"""The experiment: read it from top to bottom, it is the whole story of a run."""

import mlflow
import mlflow.sklearn
import numpy as np
from matplotlib.figure import Figure
from mlflow.models import infer_signature
from reproducibility import locked_requirements, tracked_run
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score, balanced_accuracy_score, f1_score, log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline

from .config import ExperimentConfig
from .data import Split, load_split
from .model import build_model


def run_experiment(config: ExperimentConfig) -> str:
    """Train a classifier of penguins and record how well it does.

    Returns the id of the run.
    """
    with tracked_run(config) as run:
        split = load_split(config.data, config.seed)
        model = build_model(config.model, config.seed)

        folds = StratifiedKFold(config.cross_validation_folds, shuffle=True, random_state=config.seed)
        scores = cross_val_score(model, split.x_train, split.y_train, cv=folds)
        model.fit(split.x_train, split.y_train)
        predicted = model.predict(split.x_test)
        probabilities = model.predict_proba(split.x_test)

        mlflow.log_metrics(
            {
                "cv_accuracy_mean": scores.mean(),
                "cv_accuracy_std": scores.std(),
                "test_accuracy": accuracy_score(split.y_test, predicted),
                "test_balanced_accuracy": balanced_accuracy_score(split.y_test, predicted),
                "test_f1_macro": f1_score(split.y_test, predicted, average="macro"),
                "test_log_loss": log_loss(split.y_test, probabilities),
            }
        )
        mlflow.log_figure(confusion_matrix(split, predicted), "confusion_matrix.png")
        log_model(model, split)
    return run.info.run_id


def confusion_matrix(split: Split, predicted: np.ndarray) -> Figure:
    """Draw how many held-out penguins of each species (rows) were taken for which (columns)."""
    figure = Figure(figsize=(5, 4), layout="constrained")  # not pyplot: no window, no state shared between runs
    ConfusionMatrixDisplay.from_predictions(split.y_test, predicted, ax=figure.subplots(), colorbar=False)
    return figure


def log_model(model: Pipeline, split: Split) -> None:
    """Log the fitted model with its signature and, as its requirements, the lock it was trained under."""
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(split.x_train, model.predict(split.x_train)),
        pip_requirements=locked_requirements(),
    )
