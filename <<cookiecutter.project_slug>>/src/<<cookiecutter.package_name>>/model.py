"""The model: a random forest that gets its missing values filled in and its categories encoded."""

from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from .config import ModelConfig
from .data import CATEGORICAL, NUMERIC


def build_model(config: ModelConfig, seed: int) -> Pipeline:
    """Return an unfitted classifier for tables with the columns NUMERIC and CATEGORICAL.

    What is filled in (medians, most frequent categories) is learned in `fit`, so a held-out row never leaks into it.
    """
    prepare = make_column_transformer(
        (SimpleImputer(strategy="median"), NUMERIC),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")), CATEGORICAL),
    )
    forest = RandomForestClassifier(
        n_estimators=config.n_estimators,
        max_depth=config.max_depth,
        min_samples_leaf=config.min_samples_leaf,
        random_state=seed,
    )
    return make_pipeline(prepare, forest)
