"""Log scikit-learn models as MLflow's documentation does: python scripts/log_models.py NAME FOLDER

NAME: `usual`, or how a model is logged whose types nobody named in the policy. Prints a summary as JSON.
"""

import json
import sys
import warnings

import mlflow
import numpy as np
from reproducibility import log_reproducibility_info, tracked_run
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import Birch, KMeans
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, StackingClassifier
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, SplineTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

warnings.simplefilter("ignore")
CONFIG = {"experiment_name": "models", "seed": 1, "data": {"path": "data/penguins.csv"}}
REQUIREMENTS = {"pip_requirements": ["scikit-learn"]}  # MLflow would look for them for half a minute
x, y = load_iris(return_X_y=True, as_frame=True)


class Squared(TransformerMixin, BaseEstimator):
    def fit(self, x: object, y: object = None) -> "Squared":
        self.rows_ = len(x)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        return x**2


def usual() -> dict[str, object]:
    from penguin_classifier.own_features import Doubled

    columns = make_column_transformer((StandardScaler(), make_column_selector(dtype_include=float)))
    trees = GridSearchCV(DecisionTreeClassifier(), {"max_depth": [1, None]}, scoring="roc_auc_ovr")
    return {
        "boosting": HistGradientBoostingClassifier(max_iter=3),
        "forest": make_pipeline(columns, RandomForestClassifier(3)),
        "functions": make_pipeline(FunctionTransformer(np.nan_to_num), LogisticRegression()),
        "gaussian": GaussianProcessClassifier(),
        "grid": trees,
        "means": KMeans(3),
        "own": make_pipeline(Doubled(), LogisticRegression()),
        "neighbours": KNeighborsClassifier(),
        "network": MLPClassifier(max_iter=3),
        "splines": make_pipeline(SplineTransformer(), LogisticRegression()),
        "stack": StackingClassifier([("tree", DecisionTreeClassifier()), ("logistic", LogisticRegression())]),
    }


def record(name: str, folder: str) -> dict[str, str]:
    if name == "usual":
        with tracked_run(CONFIG, run_name=name):
            models = {key: model.fit(x, y) for key, model in usual().items()}
            return {
                key: mlflow.sklearn.log_model(model, name=key, **REQUIREMENTS).model_uri
                for key, model in models.items()
            }
    model = make_pipeline(Squared(), LogisticRegression()).fit(x, y)
    if name == "after a run":
        with tracked_run(CONFIG, run_name=name):
            pass
        mlflow.sklearn.save_model(model, folder, **REQUIREMENTS)
    elif name == "saved":
        with tracked_run(CONFIG, run_name=name):
            mlflow.sklearn.save_model(model, folder, **REQUIREMENTS)
            mlflow.log_metric("late", 1)
    elif name == "plain":
        mlflow.set_experiment("models")
        with mlflow.start_run(run_name=name):
            log_reproducibility_info(CONFIG)
            mlflow.sklearn.log_model(model, name="model", **REQUIREMENTS)
            mlflow.log_metric("late", 1)
    else:
        trusted = {"skops_trusted_types": ["__main__.Squared"]} if name == "trusted by the code" else {}
        model = Birch().fit(x) if name == "without skops" else model
        with tracked_run(CONFIG, run_name=name):
            mlflow.sklearn.log_model(model, name="model", **REQUIREMENTS, **trusted)
            mlflow.log_metric("late", 1)
    return {}


try:
    print(json.dumps(record(*sys.argv[1:])))
except Exception as error:
    print(json.dumps(str(error)))
