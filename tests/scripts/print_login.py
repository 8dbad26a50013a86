"""Prints the address that MLflow gets for the tracking store, and the user and password in MLflow's variables."""

import os

from reproducibility.tracking.store import connect

print(connect().tracking_uri, os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"])
