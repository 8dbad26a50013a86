"""What somebody of the team does on a server with the gate: python gate_colleague.py FOLDER. See test_gate.py."""

import json
import sys
import time
from collections.abc import Callable

import mlflow
import numpy as np
from attempts import attempt, errors
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, LoggedModelStatus, Metric, Param, RunTag
from reproducibility import log_reproducibility_info, tracked_run
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

client = MlflowClient()
ids = {}
VALUES = {"experiment_name": "gate", "seed": 1, "data": {"path": "data/penguins.csv"}}
DIGEST = "blake3:" + "0" * 64

# Everything that people do with MLflow, in one run.
with tracked_run(VALUES, run_name="good") as run:
    good = ids["good"] = run.info.run_id
    mlflow.log_metrics({"a": 1.0, "b": 2.0}, step=3)
    mlflow.log_metric("async", 1.0, synchronous=False)
    mlflow.log_params({"learned": "3"}, synchronous=False).wait()
    mlflow.set_tags({"mood": "good"})
    mlflow.log_text("hello", "notes/hello.txt")
    mlflow.flush_async_logging()
    with mlflow.start_run(nested=True, run_name="nested"):
        mlflow.log_metric("a", 2.0)
    mlflow.sklearn.autolog(log_models=False, silent=True)
    GridSearchCV(LogisticRegression(), {"C": [1.0, 2.0]}, cv=2).fit(np.array([[0.0], [1.0]] * 4), np.array([0, 1] * 4))
    mlflow.sklearn.autolog(disable=True)
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    logged = mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn"])
    model_id = ids["model"] = logged.model_id

# Tags that say where a run comes from, while it runs.
with mlflow.start_run(run_name="plain") as run:
    plain = ids["plain"] = run.info.run_id
    log_reproducibility_info({**VALUES, "seed": 2})
    with attempt("restated twice"):
        client.log_batch(plain, params=[Param("more", "1")], tags=[RunTag("manifest_digest", DIGEST)])
with mlflow.start_run(run_name="commit restated") as run:
    with attempt("commit restated"):
        changed = [RunTag("manifest_digest", DIGEST), RunTag("git_commit", "f" * 40)]
        client.log_batch(run.info.run_id, params=[Param("more", "1")], tags=changed)
    mlflow.end_run("FAILED")
with tracked_run(VALUES, run_name="running") as run:
    running = ids["running"] = run.info.run_id
    with attempt("same value"):
        client.set_tag(running, "git_branch", run.data.tags["git_branch"])
    for tag in ("git_commit", "author", "mlflow.user", "manifest_digest"):
        with attempt(f"set {tag}"):
            client.set_tag(running, tag, "f" * 40)
        with attempt(f"batch {tag}"):
            client.log_batch(running, tags=[RunTag(tag, "f" * 40)])
        with attempt(f"delete {tag}"):
            client.delete_tag(running, tag)

# Runs that must not finish.
try:
    with tracked_run(VALUES, run_name="evidence altered") as run:
        ids["altered"] = run.info.run_id
        manifest = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/reproducibility/manifest.json")
        mlflow.log_dict(manifest | {"overrides": ["seed=2"]}, "reproducibility/manifest.json")
except Exception as error:
    errors["evidence altered"] = f"{type(error).__name__} {error.exit_code} {error}"


def end_early(name: str, end: Callable[[str], None]) -> None:
    with attempt(f"{name}, at its end"), tracked_run(VALUES, run_name=name) as run:
        with attempt(name):
            end(run.info.run_id)
        mlflow.log_metric("late", 1.0, run_id=run.info.run_id)


def end_without_digest(run_id: str) -> None:
    try:
        client.delete_tag(run_id, "reproducibility.token_digest")
    except Exception:
        client.set_terminated(run_id)


def end_with_guess(run_id: str) -> None:
    client.set_tag(run_id, "reproducibility.token", "guessed")
    client.set_terminated(run_id)


end_early("the block ends itself", lambda run_id: mlflow.end_run())
end_early("somebody ends it", client.set_terminated)
end_early("somebody takes the digest away", end_without_digest)
end_early("somebody guesses", end_with_guess)
with attempt("other child"), tracked_run(VALUES, run_name="other child"):
    with mlflow.start_run(nested=True, run_name="child of another config") as child:
        client.log_batch(child.info.run_id, params=[Param("seed", "9")], tags=[RunTag("config_digest", DIGEST)])

# A run lies inside another one, and never inside itself.
with tracked_run(VALUES, run_name="around") as around, tracked_run(VALUES, run_name="inside") as inside:
    with attempt("inside itself"):
        client.set_tag(around.info.run_id, "mlflow.parentRunId", around.info.run_id)
    with attempt("inside its own child"):
        client.set_tag(around.info.run_id, "mlflow.parentRunId", inside.info.run_id)

# A reproduction names one run.
with mlflow.start_run(run_name="reproduction") as run:
    reproduction = ids["reproduction"] = run.info.run_id
    log_reproducibility_info(VALUES)
    client.set_tag(reproduction, "reproduces", plain)
    with attempt("reproduces another"):
        client.set_tag(reproduction, "reproduces", good)
with attempt("reproduces another later"):
    client.set_tag(reproduction, "reproduces", good)
with attempt("reproduces nothing"):
    client.delete_tag(reproduction, "reproduces")
with attempt("reproduces it again"):
    client.set_tag(reproduction, "reproduces", plain)
with attempt("a failure taken back"):
    client.delete_tag(ids["altered"], "failure")
with attempt("another failure"):
    client.set_tag(ids["altered"], "failure", "bad luck")

# Changes to a run that has ended, which the gate refuses.
with attempt("tag"):
    client.set_tag(good, "git_commit", "f" * 40)
with attempt("tag away"):
    client.delete_tag(good, "author")
with attempt("new required tag"):
    client.set_tag(good, "mlflow.parentRunId", plain)
with attempt("metric"):
    client.log_metric(good, "a", 100.0)
with attempt("model metric"):
    client.log_metric(good, "a", 100.0, model_id=model_id)
with attempt("param"):
    client.log_param(good, "late", "1")
with attempt("batch"):
    client.log_batch(good, metrics=[Metric("a", 100.0, int(time.time() * 1000), 9)])
with attempt("reopen"):
    client.update_run(good, status="RUNNING")
with attempt("fail it"):
    client.set_terminated(good, "FAILED")
with attempt("resume"), mlflow.start_run(run_id=good):
    pass
with attempt("child"):
    experiment, tags = client.get_run(good).info.experiment_id, client.get_run(good).data.tags
    client.create_run(experiment, tags={**tags, "mlflow.parentRunId": good, "mlflow.runName": "late child"})
with attempt("dataset"):
    client.log_inputs(good, [DatasetInput(Dataset("d", "1", "local", "{}"), [])])
with attempt("file"):
    client.log_text(good, "late", "late.txt")
with attempt("evidence"):
    client.log_text(good, "{}", "reproducibility/manifest.json")
with attempt("model file"):
    client.log_model_artifacts(model_id, sys.argv[1])
with attempt("model param"):
    client.log_model_params(model_id, {"late": "1"})
with attempt("model state"):
    client.finalize_logged_model(model_id, LoggedModelStatus.FAILED)
with attempt("a failure"):
    client.set_tag(good, "failure", "made up")
with attempt("model"):
    mlflow.initialize_logged_model(name="late", source_run_id=good)

# What everybody may do with a run that has ended.
with attempt("same model state"):
    client.finalize_logged_model(model_id, LoggedModelStatus.READY)
with attempt("note"):
    client.set_tag(good, "mlflow.note.content", "the best so far")
with attempt("free tag"):
    client.set_tag(good, "reviewed", "yes")
with attempt("free tags"):
    client.log_batch(good, tags=[RunTag("a", "1"), RunTag("b", "2")])
with attempt("free tag away"):
    client.delete_tag(good, "a")
with attempt("rename"):
    client.update_run(good, name="good, renamed")
with attempt("rename by tag"):
    client.set_tag(good, "mlflow.runName", "good")
with attempt("same end"):
    client.set_terminated(good, "FINISHED")
with attempt("delete"):
    client.delete_run(good)
    client.restore_run(good)
with attempt("register"):
    client.create_registered_model("champions")
    client.create_model_version("champions", f"models:/{model_id}", run_id=good, model_id=model_id)
    client.set_registered_model_alias("champions", "best", 1)
with attempt("search"):
    client.search_runs(["0"], "tags.mood = 'good'")
ids["open"] = client.create_run("0", tags={**client.get_run(good).data.tags, "mlflow.runName": "open"}).info.run_id
print(json.dumps([errors, ids]))
