"""Records a run: python scripts/record_stored.py [NAME [FUNCTION ARGUMENT]]. FUNCTION is one of those below."""

import sqlite3
from contextlib import suppress
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


def fill_disk(folder: str) -> None:
    """Fill the disk of *folder* with one file, give a little back, and log until the database has no room."""
    with open(Path(folder, "other"), "wb", buffering=0) as file:
        with suppress(OSError):
            while file.write(bytes(16_384)):
                pass
        file.truncate(file.tell() - 131_072)
    for step in range(1_000):
        mlflow.log_metrics({f"metric {number}": 1.0 for number in range(1_000)}, step=step)


@click.command()
@click.argument("name", default="run")
@click.argument("function", required=False)
@click.argument("argument", required=False)
def main(name: str, function: str | None, argument: str | None) -> None:
    with tracked_run(VALUES, run_name=name):
        print("the experiment is running")
        if function:
            {"switch_off": switch_off, "drop_metrics": drop_metrics, "fill_disk": fill_disk}[function](argument)


if __name__ == "__main__":
    main()
