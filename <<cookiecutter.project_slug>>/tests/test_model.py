"""The model: it learns from tables with missing values, and all its randomness comes from the seed."""

import numpy as np

from << cookiecutter.package_name >>.config import ExperimentConfig
from << cookiecutter.package_name >>.data import load_split
from << cookiecutter.package_name >>.model import build_model


def test_missing_values_and_unknown_categories_are_no_obstacle(config: ExperimentConfig) -> None:
    split = load_split(config.data, config.seed)
    model = build_model(config.model, config.seed).fit(split.x_train, split.y_train)
    hole = split.x_test.assign(bill_length_mm=np.nan, island="Atlantis")
    assert set(model.predict(hole)) <= set(split.y_train)


def test_one_seed_gives_one_model_and_another_seed_another(config: ExperimentConfig) -> None:
    split = load_split(config.data, config.seed)
    models = (build_model(config.model, seed).fit(split.x_train, split.y_train) for seed in (1, 1, 2))
    first, again, other = (model.predict_proba(split.x_test) for model in models)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
