"""Read the metric histories of runs with MLflow's client, and no more: python diff_client.py TRACKING_URI RUN_ID ..."""

import sys

import mlflow


def main(tracking_uri: str, *run_ids: str) -> None:
    mlflow.set_tracking_uri(tracking_uri)
    client = mlflow.MlflowClient()
    for run_id in run_ids:
        for name in client.get_run(run_id).data.metrics:
            client.get_metric_history(run_id, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
