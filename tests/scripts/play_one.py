"""Plays the scene that is named; what the scene raises ends the process."""

import sys

from reproducibility import tracked_run
from scenes import SCENES, VALUES, set_usual_signals

set_usual_signals()
with tracked_run(VALUES, run_name=f"alone {sys.argv[1]}") as run:
    SCENES[sys.argv[1]](run)
