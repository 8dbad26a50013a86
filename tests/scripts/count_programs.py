"""Records two runs, and prints which programs this process started for the second one."""

import json
import sys
from pathlib import Path

import mlflow
from reproducibility import tracked_run

VALUES = {"experiment_name": "counted", "seed": 1, "data": {"path": "data/penguins.csv"}}
started = []


def note(event, arguments):
    if event == "subprocess.Popen":
        started.append(Path(arguments[1][0]).name)


sys.addaudithook(note)
for _ in range(2):
    started.clear()
    with tracked_run(VALUES):
        mlflow.log_metric("loss", 0.5)
print(json.dumps(started))
