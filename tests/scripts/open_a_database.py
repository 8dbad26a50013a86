"""Use MLflow, and a database with it, where the machinery is installed."""

import sys

import mlflow

print("imported")
mlflow.set_tracking_uri(f"sqlite:///{sys.argv[1]}")
try:
    mlflow.MlflowClient().search_experiments()
except mlflow.MlflowException as error:
    print(f"refused: {error}")
else:
    print("opened")
