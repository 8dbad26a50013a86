"""What somebody tries on a server with the gate who has MLflow, and does not know the project: see test_gate.py."""

import json

import mlflow
from attempts import attempt, errors
from mlflow import MlflowClient
from mlflow.entities import Run

DIGEST = "blake3:" + "0" * 64
INVENTED = {
    "git_commit": "a" * 40,
    "git_branch": "main",
    "git_remote": "none",
    "git_dirty": "false",
    "data_version": DIGEST,
    "author": "Eve <eve@example.com>",
    "config_digest": DIGEST,
    "lock_digest": DIGEST,
    "image": "none",
    "manifest_digest": DIGEST,
}
client = MlflowClient()


def create(name: str, **tags: str) -> Run:
    return client.create_run("0", run_name=name, tags={**INVENTED, **tags})


with attempt("fluent"), mlflow.start_run(run_name="fluent"):
    errors["reached the body"] = None
with attempt("client"):
    client.create_run("0", run_name="client")
for name, tags in {
    "short commit": {"git_commit": "a" * 12},
    "upper commit": {"git_commit": "A" * 40},
    "md5 data": {"data_version": "md5:123"},
    "nobody": {"author": "  "},
    "two things": {"author": "", "git_commit": "HEAD"},
    "child of nobody": {"mlflow.parentRunId": "f" * 32},
}.items():
    with attempt(name):
        create(name, **tags)

with attempt("no params"):
    client.set_terminated(create("no params").info.run_id)
with attempt("no evidence"):
    run_id = create("no evidence").info.run_id
    client.log_param(run_id, "data_version", DIGEST)
    client.log_param(run_id, "seed", "1")
    client.set_terminated(run_id)
with attempt("failed"):
    client.set_terminated(create("failed").info.run_id, "FAILED")
print(json.dumps(errors))
