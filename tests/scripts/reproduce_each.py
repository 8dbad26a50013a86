"""Reproduce many runs in one process, because the import of MLflow takes longer than most of them.

The argument is JSON: {name: [options of the command]}. Prints JSON: {name: [exit status, output, errors]}.
"""

import contextlib
import io
import json
import sys

from reproducibility.cli import main

answers = {}
for name, options in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main(["reproduce", *options])
        except SystemExit as end:
            answers[name] = [end.code, output.getvalue(), errors.getvalue()]
print(json.dumps(answers))
