"""Records one run from a command of click, which ends with status 2 when the run is refused."""

import click
from reproducibility import tracked_run

VALUES = {"experiment_name": "drift", "seed": 1, "data": {"path": "data/penguins.csv"}}


@click.command()
def main() -> None:
    with tracked_run(VALUES, run_name="run"):
        print("the experiment is running")


main()
