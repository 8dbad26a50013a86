"""Open a store with MLflow's client, search for its runs, and no more: python open_client.py TRACKING_URI"""

import sys

import mlflow


def main(tracking_uri: str) -> None:
    mlflow.set_tracking_uri(tracking_uri)
    client = mlflow.MlflowClient()
    if not client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]):
        raise SystemExit("there is no run")


if __name__ == "__main__":
    main(*sys.argv[1:])
