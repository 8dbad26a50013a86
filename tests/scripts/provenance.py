"""Print as JSON what a run of this project carries: its tags, its params, and its files of evidence as text."""

import json

from reproducibility.provenance.gather import gather

found = gather({"experiment_name": "bare", "seed": 1, "data": {"path": "data/penguins.csv"}})
assert not found.refusals, found.refusals
evidence = {name: content.decode() for name, content in found.evidence.items()}
print(json.dumps({"tags": found.tags, "params": found.params, "evidence": evidence}))
