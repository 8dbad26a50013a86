"""One client of the load benchmark: records tracked runs, one after the other, whatever its server does.

python load_client.py RUNS POINTS FILE    FILE gets the id of each run whose block ended without an error
"""

import sys
import time

import mlflow
from reproducibility import tracked_run
from reproducibility.errors import StoreUnavailable

CONFIG = {"experiment_name": "load", "seed": 1, "data": {"path": "data/penguins.csv"}}
LIMIT_S = 600  # until a run must have begun


def record(points: int) -> str:
    """Record a run of so many points and a file, and return its id; begin again while the server is away."""
    until = time.monotonic() + LIMIT_S
    while True:
        has_begun = False
        try:
            with tracked_run(CONFIG) as run:
                has_begun = True
                for step in range(points):
                    mlflow.log_metric("loss", step / 7, step=step)
                mlflow.log_text("result", "result.txt")
            return run.info.run_id
        except StoreUnavailable as error:
            if has_begun or time.monotonic() > until:
                raise
            print(error, file=sys.stderr)
            time.sleep(1)


def main(runs: str, points: str, file: str) -> None:
    with open(file, "a", encoding="ascii") as ids:
        for _ in range(int(runs)):
            ids.write(record(int(points)) + "\n")
            ids.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
