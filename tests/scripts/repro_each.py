"""Runs `repro` several times in one process, because importing MLflow takes longer than most commands.

The argument is JSON, {name: [argument, ...]}. The last line is JSON, {name: [exit status, output, errors]}.
"""

import contextlib
import io
import json
import sys

from reproducibility.cli import main

results = {}
for name, arguments in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main(arguments)
        except SystemExit as end:
            results[name] = [end.code or 0, output.getvalue(), errors.getvalue()]
print(json.dumps(results))
