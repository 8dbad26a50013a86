"""Records runs of two people whose names try to end the quotes of a search.

One person has a nested run, a run in another experiment and a reproduction.
"""

import os

from reproducibility import tracked_run

VALUES = {"experiment_name": "one", "seed": 1, "data": {"path": "data/penguins.csv"}}
ADA, BO = "Ada O'Brien", 'Bo "the%" \\ Li'

os.environ["AUTHOR"] = ADA
with tracked_run(VALUES, run_name="oldest"):
    pass
with tracked_run(VALUES, run_name="older"), tracked_run(VALUES, run_name="inside"):
    pass
os.environ["AUTHOR"] = BO
with tracked_run(VALUES, run_name="bo's"):
    pass
os.environ["AUTHOR"] = f"{ADA} "
with tracked_run(VALUES | {"experiment_name": "two"}, run_name="newest"):
    pass
os.environ["AUTHOR"] = ADA
os.environ["MLFLOW_RUN_CONTEXT"] = '{"reproduces": "another"}'
with tracked_run(VALUES, run_name="reproduction"):
    pass
