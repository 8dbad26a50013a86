"""Delete with MLflow alone what a champion rests on; the argument is {name: run id} as JSON.

Prints JSON: {name of the attempt: the error message, null where MLflow accepted it}. Each run that was deleted is there
again at the end.
"""

import json
import sys

import mlflow
from attempts import attempt, errors

client = mlflow.MlflowClient()
runs = json.loads(sys.argv[1])
experiment = client.get_run(runs["the run"]).info.experiment_id
champions = {model.name: model.aliases["champion"] for model in client.search_registered_models()}

for name, run_id in runs.items():
    with attempt(name):
        client.delete_run(run_id)
        client.restore_run(run_id)
with attempt("the experiment"):
    client.delete_experiment(experiment)
with attempt("another experiment"):
    client.delete_experiment(client.create_experiment("another"))

for name in champions:
    client.delete_registered_model_alias(name, "champion")
with attempt("the experiment without the alias"):
    client.delete_experiment(experiment)
client.restore_experiment(experiment)
with attempt("the run without the alias"):
    client.delete_run(runs["the run"])
for name, version in champions.items():
    with attempt(f"the alias {name} to a deleted run"):
        client.set_registered_model_alias(name, "champion", version)
client.restore_run(runs["the run"])
for name, version in champions.items():
    client.set_registered_model_alias(name, "champion", version)
print(json.dumps(errors))
