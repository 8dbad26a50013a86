"""Open a database as every MLflow client does, and print the error: python open_database.py ADDRESS"""

import sys

from mlflow import MlflowClient

try:
    MlflowClient(sys.argv[1]).search_experiments()
except Exception as error:
    print(f"{type(error).__name__} {error}")
