"""Run `mlflow server OPTIONS` for each list of options, and print each exit status: start_mlflow_servers.py JSON."""

import json
import os
import sys

from mlflow.cli import cli

for options in json.loads(sys.argv[1]):
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        print(json.dumps([options, os.waitstatus_to_exitcode(status)]), flush=True)
    else:
        cli(["server", *options], prog_name="mlflow")
