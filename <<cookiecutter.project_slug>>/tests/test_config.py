"""The config: what can be set, and what is refused."""

import pytest
from reproducibility import PROJECT_ROOT, Refused, load

from << cookiecutter.package_name >>.config import ExperimentConfig

EXPERIMENT = PROJECT_ROOT / "configs" / "experiment.yaml"


def test_a_value_can_be_set_for_one_run() -> None:
    assert load(EXPERIMENT, ExperimentConfig, ["model.max_depth=3"]).model.max_depth == 3


def test_a_knob_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(Refused, match=r"model\.max_dept\b.*max_depth"):
        load(EXPERIMENT, ExperimentConfig, ["model.max_dept=3"])


@pytest.mark.parametrize("value", ["0", "three", "2.5", "true"])
def test_a_depth_that_is_not_a_positive_whole_number_is_refused(value: str) -> None:
    with pytest.raises(Refused, match=r"model\.max_depth"):
        load(EXPERIMENT, ExperimentConfig, [f"model.max_depth={value}"])
