"""Tries to record a run in each of many stores, in one process.

The argument is JSON, {name: address of a store}. The last line is JSON, {name: [exit status, output, errors, seconds]}.
"""

import contextlib
import io
import json
import os
import sys
from time import monotonic

from record_stored import main

before = dict(os.environ)
results = {}
for name, uri in json.loads(sys.argv[1]).items():
    os.environ.clear()
    os.environ.update(before, MLFLOW_TRACKING_URI=uri)
    start = monotonic()
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main(["run"])
        except SystemExit as end:
            results[name] = [end.code, output.getvalue(), errors.getvalue(), monotonic() - start]
print(json.dumps(results))
