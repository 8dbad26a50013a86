"""An experiment that refuses every option, --config too."""

import sys

from reproducibility import PROJECT_ROOT, load
from tiny import Tiny, run_experiment

if len(sys.argv) > 1:
    sys.exit("this script takes no options")
run_experiment(load(PROJECT_ROOT / "configs" / "tiny.yaml", Tiny))
