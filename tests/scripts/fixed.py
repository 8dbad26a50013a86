"""An experiment that takes no options: its config is named in the code. RATE in the environment changes it."""

import os

from reproducibility import PROJECT_ROOT, load
from tiny import Tiny, run_experiment

changes = [f"rate={os.environ['RATE']}"] if "RATE" in os.environ else []
run_experiment(load(PROJECT_ROOT / "configs" / "tiny.yaml", Tiny, changes))
