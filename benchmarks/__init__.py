"""How the template compares with its peers and with the least possible, side by side in one run: nox -s bench"""

import sys
from pathlib import Path

# The servers that the tests start are measured here.
sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from . import (
    audit,
    container,
    data_version,
    delivery,
    diff,
    gate,
    generation,
    load,
    reproduction,
    start,
    sweep,
    tracked_run,
)

PARTS = (
    tracked_run,
    delivery,
    load,
    gate,
    data_version,
    reproduction,
    sweep,
    diff,
    audit,
    generation,
    start,
    container,
)
