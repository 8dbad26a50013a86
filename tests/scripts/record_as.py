"""Record one run for each author that is named, and print {author: error, or None}: python record_as.py AUTHOR ..."""

import json
import os
import sys

import mlflow
from reproducibility import tracked_run

VALUES = {"experiment_name": "recorded as", "seed": 1, "data": {"path": "data/penguins.csv"}}
errors = {}
for author in sys.argv[1:]:
    os.environ["AUTHOR"] = author
    try:
        with tracked_run(VALUES):
            mlflow.log_metric("a", 1.0)
        errors[author] = None
    except Exception as error:
        errors[author] = str(error)
print(json.dumps(errors))
