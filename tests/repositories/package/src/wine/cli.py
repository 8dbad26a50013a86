import argparse

import mlflow

from .model import fit


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=1.0)
    options = parser.parse_args()
    with mlflow.start_run():
        mlflow.log_metric("fit", fit("data/wine.csv", options.rate))


if __name__ == "__main__":
    main()
