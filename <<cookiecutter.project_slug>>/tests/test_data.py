"""The data: which rows are held out, and which tables are refused."""

import pytest
from reproducibility import Refused

from << cookiecutter.package_name >>.config import ExperimentConfig
from << cookiecutter.package_name >>.data import load_split


def test_every_row_is_on_one_side_of_the_split(config: ExperimentConfig) -> None:
    split = load_split(config.data, config.seed)
    assert set(split.x_train.index).isdisjoint(split.x_test.index)
    assert len(split.x_train) + len(split.x_test) == 344


def test_each_species_is_held_out_in_proportion(config: ExperimentConfig) -> None:
    split = load_split(config.data, config.seed)
    everyone = split.y_train.value_counts() + split.y_test.value_counts()
    held_out = split.y_test.value_counts() / everyone
    assert held_out.between(0.24, 0.26).all()


def test_one_seed_gives_one_split_and_another_seed_another(config: ExperimentConfig) -> None:
    first, again, other = (load_split(config.data, seed).x_test.index.tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_file_that_lacks_a_column_is_refused_by_name(config: ExperimentConfig, tmp_path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("species,island\nAdelie,Dream\n")
    with pytest.raises(Refused, match="bill_depth_mm"):
        load_split(config.data.model_copy(update={"path": str(table)}), config.seed)
