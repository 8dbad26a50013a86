"""Finds the run that each author means by a reference.

The argument is JSON, {name: [author, reference]}. Prints JSON, {name: id of the run, or the problem}.
"""

import json
import os
import sys

from reproducibility import Refused
from reproducibility.tracking.recorded import find_run
from reproducibility.tracking.store import connect

client = connect()
found = {}
for name, (author, reference) in json.loads(sys.argv[1]).items():
    os.environ["AUTHOR"] = author
    try:
        found[name] = find_run(client, reference).info.run_id
    except Refused as refused:
        found[name] = refused.violations[0].problem
print(json.dumps(found))
