"""Prints what each source of random numbers gives after seeding, once for each seed in argv: a JSON list."""

import json
import random
import subprocess
import sys

from reproducibility.provenance.seeding import plan

drawn = []
for text in sys.argv[1:]:
    seeding = plan(int(text))
    seeding.apply()
    import numpy  # only now, as a run may do

    # In a child: Python fixes its own hash seed when it starts.
    hashed = subprocess.check_output([sys.executable, "-c", "print(hash('text'))"], text=True)
    draws = {
        "libraries": seeding.libraries,
        "random": random.random(),
        "numpy": numpy.random.rand(3).tolist(),
        "hash": hashed,
    }
    drawn.append(draws)
print(json.dumps(drawn))
