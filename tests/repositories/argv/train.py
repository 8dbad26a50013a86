# A regression on the quality of wine: python train.py [alpha] [l1_ratio]
import random
import sys

import mlflow
import numpy as np

if __name__ == "__main__":
    np.random.seed(40)

    data = np.loadtxt("data/wine.csv", delimiter=",", skiprows=1)
    alpha = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
    l1_ratio = float(sys.argv[2]) if len(sys.argv) > 2 else 0.5

    with mlflow.start_run():
        order = np.random.permutation(len(data))
        train, test = data[order[:30]], data[order[30:]]
        weights, *_ = np.linalg.lstsq(train[:, :2], train[:, 2] * l1_ratio, rcond=None)
        rmse = float(np.sqrt(np.mean((test[:, :2] @ weights - test[:, 2]) ** 2)))

        mlflow.log_param("alpha", alpha)
        mlflow.log_param("l1_ratio", l1_ratio)
        mlflow.log_metric("rmse", rmse + alpha * random.random())
