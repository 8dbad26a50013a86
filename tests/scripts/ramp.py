"""Records runs that break the policy in different ways, and one that does not: python scripts/ramp.py"""

import mlflow
from mlflow.exceptions import MlflowException
from reproducibility import Refused, log_reproducibility_info, tracked_run, validate_required_tags

VALUES = {"experiment_name": "ramp", "seed": 1, "data": {"path": "data/penguins.csv"}}

with tracked_run(VALUES, run_name="good"):
    mlflow.log_metric("a", 1.0)

with tracked_run({"experiment_name": "ramp", "data": {"path": "data/gone.csv"}}, run_name="no seed, no data"):
    mlflow.log_metric("a", 1.0)

mlflow.set_experiment("ramp")
with mlflow.start_run(run_name="plain"):
    validate_required_tags()

with mlflow.start_run(run_name="with arguments"):
    log_reproducibility_info({"arguments": {"rate": 0.5}})
    validate_required_tags()

client = mlflow.MlflowClient()
run_id = client.create_run("1", run_name="of a client").info.run_id
client.set_terminated(run_id, "FINISHED")
try:
    client.log_metric(run_id, "late", 1.0)
except MlflowException as error:
    print("closed:", error)

try:
    with tracked_run(VALUES | {"note": "ghp_" + "0123456789abcdefghij0123456789abcdef"}, run_name="secret"):
        print("never reached")
except Refused as refused:
    print("refused:", refused)
