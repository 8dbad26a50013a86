"""Records a run of values and prints its id."""

from reproducibility import tracked_run

with tracked_run({"experiment_name": "x", "seed": 1, "data": {"path": "data/penguins.csv"}}) as run:
    print(run.info.run_id)
