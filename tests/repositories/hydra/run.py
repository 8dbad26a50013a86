"""Composes conf/config.yaml with a group and overrides: python run.py model=constant model.scale=0.1 seed=3"""

import random
import sys
from pathlib import Path

import mlflow
import yaml

CONF = Path(__file__).parent / "conf"


def compose(overrides):
    config = yaml.safe_load((CONF / "config.yaml").read_text())
    groups = {name: value for each in config.pop("defaults") for name, value in each.items()}
    given = dict(each.split("=", 1) for each in overrides)
    for group in groups:
        config[group] = yaml.safe_load((CONF / group / f"{given.pop(group, groups[group])}.yaml").read_text())
    for key, value in given.items():
        place = config
        *above, last = key.split(".")
        for name in above:
            place = place[name]
        place[last] = yaml.safe_load(value)
    return config


def train(config):
    random.seed(config["seed"])
    rows = (Path(__file__).parent / config["data"]).read_text().splitlines()[1:]
    mean = sum(float(row.split(",")[2]) for row in rows) / len(rows)
    mlflow.log_metric("score", mean * config["model"]["scale"] + random.random())


if __name__ == "__main__":
    mlflow.set_tracking_uri("sqlite:///runs.db")
    with mlflow.start_run():
        train(compose(sys.argv[1:]))
