"""Records a run with an imported file that is in its patch, lets git ignore the file, and begins another run."""

from pathlib import Path

import later_ignored  # noqa: F401
from reproducibility import PROJECT_ROOT, Refused, tracked_run

VALUES = {"experiment_name": "ignored", "seed": 1, "data": {"path": "data/penguins.csv"}}

with tracked_run(VALUES):
    pass
with Path(PROJECT_ROOT, ".gitignore").open("a", encoding="utf-8") as stream:
    stream.write("later_ignored.py\n")
try:
    with tracked_run(VALUES):
        print("it was begun")
except Refused as refused:
    print(refused)
