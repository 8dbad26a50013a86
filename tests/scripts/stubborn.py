"""An experiment that starts only where the variable DOOR is set, which no run records; it refuses every option."""

import os
import sys

from reproducibility import PROJECT_ROOT, load
from tiny import Tiny, run_experiment

if len(sys.argv) > 1:
    sys.exit("this script takes no options")
if "DOOR" not in os.environ:
    sys.exit("there is no door")
run_experiment(load(PROJECT_ROOT / "configs" / "tiny.yaml", Tiny))
