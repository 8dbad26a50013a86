"""Try to start a run with each config and tags in the pickle argv[1], {name: (values, tags)}: print each refusal."""

import json
import pickle
import sys
from pathlib import Path

from reproducibility import Refused, tracked_run

refusals = {}
for name, (values, tags) in pickle.loads(Path(sys.argv[1]).read_bytes()).items():  # noqa: S301 (written by the test)
    try:
        with tracked_run(values, tags=tags):
            refusals[name] = "not refused"
    except Refused as refused:
        refusals[name] = str(refused)
print(json.dumps({"refusals": refusals, "imported": "mlflow" in sys.modules}))
