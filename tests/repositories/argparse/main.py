import argparse
import os

import mlflow
import numpy as np


def parse():
    parser = argparse.ArgumentParser(description="Trains a linear model.")
    parser.add_argument("--data", default="input/wine.csv")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--api-key", default=None)
    return parser.parse_args()


def main():
    args = parse()
    rng = np.random.RandomState(args.seed)
    here = os.path.dirname(os.path.abspath(__file__))
    rows = np.loadtxt(os.path.join(here, args.data), delimiter=",", skiprows=1)
    mlflow.set_experiment("wine-quality")
    with mlflow.start_run(run_name="linear"):
        mlflow.log_params({"epochs": args.epochs, "lr": args.lr})
        weights = rng.normal(size=2)
        for epoch in range(args.epochs):
            error = rows[:, :2] @ weights - rows[:, 2]
            weights -= args.lr * rows[:, :2].T @ error / len(rows)
            mlflow.log_metric("loss", float((error**2).mean()), step=epoch)


if __name__ == "__main__":
    main()
