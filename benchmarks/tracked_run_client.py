"""One side of the tracked-run benchmark, in an environment of its own: a line in is a run, a line out what it took.

python tracked_run_client.py ours PACKAGE FACTS        records a tracked run; its first writes what it recorded to FACTS
python tracked_run_client.py one-by-one|batch FACTS    records the same with MLflow alone
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import requests

EXPERIMENT = "benchmark"
METRICS = {"cv_mean": 0.97, "cv_std": 0.01, "accuracy": 0.98, "balanced_accuracy": 0.975, "f1_macro": 0.97}
EVIDENCE = "reproducibility"
INTERNAL = ("mlflow.", "reproducibility.")  # each run has others: its process, its token
requested: list[str] = []
cpu_of_requests: list[float] = []
programs: list[str] = []


def count() -> None:
    """Write down every request that leaves this process, where `requests` hands it to a connection, and every program.

    With the CPU seconds of each request.
    """
    send = requests.adapters.HTTPAdapter.send

    def counted(adapter, request, *args, **options):
        requested.append(f"{request.method} {request.path_url.partition('?')[0]}")
        before = time.thread_time()
        try:
            return send(adapter, request, *args, **options)
        finally:
            cpu_of_requests.append(time.thread_time() - before)

    requests.adapters.HTTPAdapter.send = counted
    sys.addaudithook(lambda event, arguments: event == "subprocess.Popen" and programs.append(str(arguments[0])))


def cpu() -> float:
    """The CPU seconds of this process and of all programs that it has started and waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def tracked(package: str, artifact: Path) -> Callable[[], str]:
    """Return a run the way the project does it."""
    reproducibility = importlib.import_module("reproducibility")
    model = importlib.import_module(f"{package}.config").ExperimentConfig
    config = reproducibility.load(reproducibility.PROJECT_ROOT / "configs" / "experiment.yaml", model)

    def run() -> str:
        with reproducibility.tracked_run(config) as active:
            mlflow.log_metrics(METRICS)
            mlflow.log_artifact(str(artifact))
        return active.info.run_id

    return run


def one_by_one(facts: dict, folder: Path) -> str:
    """The usual way of tutorials."""
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run() as active:
        for key, value in facts["tags"].items():
            mlflow.set_tag(key, value)
        for key, value in facts["params"].items():
            mlflow.log_param(key, value)
        for key, value in METRICS.items():
            mlflow.log_metric(key, value)
        for file in sorted((folder / EVIDENCE).iterdir()):
            mlflow.log_artifact(str(file), EVIDENCE)
        mlflow.log_artifact(facts["artifact"])
    return active.info.run_id


def batch(facts: dict, folder: Path) -> str:
    """The same in as few calls as MLflow's own interface suggests."""
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(tags=facts["tags"]) as active:
        mlflow.log_params(facts["params"])
        mlflow.log_metrics(METRICS)
        mlflow.log_artifacts(str(folder / EVIDENCE), EVIDENCE)
        mlflow.log_artifact(facts["artifact"])
    return active.info.run_id


def recorded(run_id: str) -> dict:
    """What the server holds of a run, without the tags that MLflow and the machinery set for themselves."""
    data = mlflow.MlflowClient().get_run(run_id).data
    listed = [mlflow.artifacts.list_artifacts(run_id=run_id, artifact_path=folder) for folder in ("", EVIDENCE)]
    files = [file.path for files in listed for file in files if not file.is_dir]
    tags = {key: value for key, value in data.tags.items() if not key.startswith(INTERNAL)}
    return {"tags": tags, "params": data.params, "metrics": data.metrics, "files": sorted(files)}


def write_facts(run_id: str, facts_file: Path, artifact: Path) -> None:
    mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=EVIDENCE, dst_path=str(facts_file.parent))
    facts_file.write_text(json.dumps(recorded(run_id) | {"artifact": str(artifact)}))


def main(side: str, *arguments: str) -> None:
    results = os.fdopen(os.dup(1), "w")
    sys.stdout = open(os.devnull, "w")  # MLflow prints the address of each run
    count()
    facts_file = Path(arguments[-1])
    artifact = facts_file.parent / "confusion_matrix.png"
    if side == "ours":
        run = tracked(arguments[0], artifact)
    else:
        facts = json.loads(facts_file.read_text())
        way = {"one-by-one": one_by_one, "batch": batch}[side]

        def run() -> str:
            return way(facts, facts_file.parent)

    for _ in sys.stdin:
        for counted in (requested, cpu_of_requests, programs):
            counted.clear()
        started, cpu_before = time.perf_counter(), cpu()
        run_id = run()
        measured = {
            "seconds": time.perf_counter() - started,
            "cpu": cpu() - cpu_before - sum(cpu_of_requests),
            "requests": list(requested),
            "programs": len(programs),
        }
        if side == "ours" and not facts_file.exists():
            write_facts(run_id, facts_file, artifact)
        results.write(json.dumps(measured | {"recorded": recorded(run_id)}) + "\n")
        results.flush()
    os._exit(0)  # nothing is left to do, and Python takes a second to forget all of MLflow


if __name__ == "__main__":
    main(*sys.argv[1:])
