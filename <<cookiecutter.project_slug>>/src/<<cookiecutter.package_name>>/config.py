"""The knobs: every value that an experiment can be given, typed. A knob that is not here cannot be set."""

from typing import Annotated

from pydantic import Field
from reproducibility import Config, Section


class DataConfig(Section):
    """Which rows there are and which of them are held out."""

    path: str
    test_fraction: Annotated[float, Field(gt=0, lt=1)]


class ModelConfig(Section):
    """The random forest's size; `max_depth: null` lets the trees grow until their leaves are pure."""

    n_estimators: Annotated[int, Field(ge=1)]
    max_depth: Annotated[int, Field(ge=1)] | None
    min_samples_leaf: Annotated[int, Field(ge=1)]


class ExperimentConfig(Config):
    """One experiment, as `configs/experiment.yaml` describes it."""

    experiment_name: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    data: DataConfig
    model: ModelConfig
    cross_validation_folds: Annotated[int, Field(ge=2)]
