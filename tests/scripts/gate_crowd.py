"""Record runs from many clients at once, crowd after crowd: python gate_crowd.py CLIENTS RUNS NAME ...

Every third run lacks something. Prints how each run ended for its client, as one line of JSON.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from reproducibility.provenance.gather import gather

CLIENTS, RUNS, CROWDS = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
LACKING = ("everything", "author", "params", "evidence", "its own manifest")
VALUES = {"experiment_name": "crowd", "seed": 1, "data": {"path": "data/penguins.csv"}}
provenance = gather(VALUES)
assert not provenance.refusals
evidence, altered = Path(mkdtemp()), Path(mkdtemp())
for name, content in provenance.evidence.items():
    (evidence / name).write_bytes(content)
    (altered / name).write_bytes(content.replace(b"crowd", b"clown"))
experiment = MlflowClient().create_experiment("crowd")
printing = Lock()


def record(crowd: str, number: int) -> None:
    client = MlflowClient()
    lacks = LACKING[number // 3 % len(LACKING)] if number % 3 == 0 else None
    tags = {} if lacks == "everything" else dict(provenance.tags)
    if lacks == "author":
        tags["author"] = ""
    ended = {"crowd": crowd, "number": number, "lacks": lacks, "id": None, "error": None}
    try:
        run_id = ended["id"] = client.create_run(experiment, tags=tags, run_name=f"{crowd} {number}").info.run_id
        if lacks != "params":
            client.log_batch(run_id, params=[Param(key, value) for key, value in provenance.params.items()])
        if lacks != "evidence":
            client.log_artifacts(run_id, str(altered if lacks == "its own manifest" else evidence), "reproducibility")
        now = int(time.time() * 1000)
        client.log_batch(run_id, [Metric(f"m{key}", step + number, now, step) for key in range(5) for step in range(4)])
        client.set_terminated(run_id)
    except Exception as error:
        ended["error"] = str(error)
    with printing:
        print(json.dumps(ended), flush=True)


for crowd in CROWDS:
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(record, [crowd] * RUNS, range(RUNS)))
