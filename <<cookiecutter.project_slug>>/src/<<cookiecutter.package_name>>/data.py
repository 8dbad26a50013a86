"""The data: where rows come from, which columns count, and which rows the model never sees while it learns."""

from dataclasses import dataclass

import pandas as pd
from reproducibility import PROJECT_ROOT, Refused, Violation
from sklearn.model_selection import train_test_split

from .config import DataConfig

TARGET = "species"
NUMERIC = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
CATEGORICAL = ["island", "sex"]


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to judge by: features (n, 6) with missing values as NaN, labels (n,) as text."""

    x_train: pd.DataFrame
    x_test: pd.DataFrame
    y_train: pd.Series
    y_test: pd.Series


def load_split(config: DataConfig, seed: int) -> Split:
    """Read the table at ``config.path`` and hold out ``config.test_fraction`` of its rows, each species in proportion.

    The same CSV file, fraction and seed give the same rows in the same order. Raises Refused when a column is
    missing or the file is no table.
    """
    try:
        table = pd.read_csv(PROJECT_ROOT / config.path)
    except (ValueError, OSError) as error:
        raise Refused([Violation(config.path, f"is not a CSV table ({error})", "set data.path to one")]) from None
    if absent := {TARGET, *NUMERIC, *CATEGORICAL} - set(table.columns):
        fix = "add them, or change the columns in data.py"
        raise Refused([Violation(config.path, f"has no column {', '.join(sorted(absent))}", fix)])
    x_train, x_test, y_train, y_test = train_test_split(
        table[NUMERIC + CATEGORICAL].astype(
            {column: float for column in NUMERIC} | {column: object for column in CATEGORICAL}
        ),
        table[TARGET],
        test_size=config.test_fraction,
        stratify=table[TARGET],
        random_state=seed,
    )
    return Split(x_train, x_test, y_train, y_test)
