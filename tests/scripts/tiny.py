"""A tiny experiment with quirks: python scripts/tiny.py --config configs/tiny.yaml"""

import os
import random
import time

import mlflow
from penguin_classifier.notes import NOTE
from reproducibility import PROJECT_ROOT, Config, Section, experiment_command, tracked_run


class Data(Section):
    path: str


class Tiny(Config):
    experiment_name: str
    seed: int
    data: Data
    rate: float
    quirk: str


def learn(config: Tiny) -> None:
    """Log what follows from the seed, the data, the code and the config; a quirk adds what does not."""
    place = PROJECT_ROOT / config.data.path
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.suffix != ".cache"]
    rows = sum(len(file.read_bytes()) for file in files if file.is_file())
    if config.quirk == "cache":
        (place / "labels.cache").write_bytes(os.urandom(8))
    for step in range(4):
        chance = int.from_bytes(os.urandom(4)) + 1 if config.quirk == "chance" and step == 2 else 0
        jitter = os.urandom(1)[0] * 1e-12 if config.quirk == "jitter" else 0
        mlflow.log_metric("loss", random.random() * config.rate + rows + chance + jitter, step=step)
    mlflow.log_metrics({"not a number": float("nan"), "infinite": float("inf")})
    mlflow.log_param("learned", str(rows))
    mlflow.log_text(f"{NOTE} {rows} {random.random()}", "learned.txt")
    if config.quirk == "hash order":
        mlflow.log_metric("order", float(next(iter({f"w{number}" for number in range(40)}))[1:]))
    if config.quirk == "runs inside":
        for name in ("a", "b"):
            with tracked_run(config, run_name=name):
                mlflow.log_metric("inner", random.random())
        with mlflow.start_run(run_name="plain", nested=True):
            mlflow.log_metric("inner", random.random())
    if config.quirk == "waits" and "HOLD" in os.environ:
        hold = os.environ["HOLD"]
        with open(f"{hold}.reached", "w"):
            pass
        while os.path.exists(hold):
            time.sleep(0.05)


def run_experiment(config: Tiny) -> str:
    """A tiny experiment."""
    with tracked_run(config, run_name=os.environ.get("RUN_NAME")) as run:
        learn(config)
    return run.info.run_id


if __name__ == "__main__":
    experiment_command(Tiny, run_experiment)()
