"""Records a run: python scripts/record_stored.py [NAME [FUNCTION ARGUMENT]]. FUNCTION is one of those below."""

import sqlite3
from pathlib import Path

import click
import mlflow
import requests
from reproducibility import tracked_run

VALUES = {"experiment_name": "stored", "seed": 1, "data": {"path": "data/penguins.csv"}}


def switch_off(server: str) -> None:
    requests.post(f"{server}/die", data="{}", timeout=60)
    mlflow.log_metric("accuracy", 1.0)


def drop_metrics(database: str) -> None:
    with sqlite3.connect(Path(database)) as connection:
        connection.execute("DROP TABLE latest_metrics")


@click.command()
@click.argument("name", default="run")
@click.argument("function", required=False)
@click.argument("argument", required=False)
def main(name: str, function: str | None, argument: str | None) -> None:
    with tracked_run(VALUES, run_name=name):
        print("the experiment is running")
        if function:
            {"switch_off": switch_off, "drop_metrics": drop_metrics}[function](argument)


if __name__ == "__main__":
    main()
