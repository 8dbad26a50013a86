"""A script with arguments of its own: python scripts/given_arguments.py RATE [--note TEXT] [--api-token TOKEN]"""

import argparse
import random

import mlflow
from reproducibility import log_reproducibility_info, validate_required_tags

parser = argparse.ArgumentParser()
parser.add_argument("rate", type=float)
parser.add_argument("--note", default="none")
parser.add_argument("--rows", default="../data/penguins.csv")
parser.add_argument("--api-token")


def main() -> None:
    given = parser.parse_args()
    with mlflow.start_run(run_name=given.note):
        log_reproducibility_info()
        rows = len(open(given.rows).readlines())
        mlflow.log_metric("loss", random.random() * given.rate + rows)
        validate_required_tags()


if __name__ == "__main__":
    main()
