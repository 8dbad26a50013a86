"""The trial of a sweep that this process makes: the first run that it records."""

import json
import os
from dataclasses import dataclass

from ..errors import refuse
from ..tags import PARENT_TAG, SWEEP_TAG, TRIAL_TAG

# The driver of a sweep sets it for the process of each trial: the fields of `Trial` as JSON.
VARIABLE = "REPRODUCIBILITY_TRIAL"


@dataclass(frozen=True)
class Trial:
    """One trial: the id of its sweep, its number, and the id of the run of the sweep."""

    sweep: str
    number: int
    parent: str

    @property
    def tags(self) -> dict[str, str]:
        """The tags that make a run this trial."""
        return {SWEEP_TAG: self.sweep, TRIAL_TAG: str(self.number), PARENT_TAG: self.parent}


def trial_of_process() -> Trial | None:
    """Return the trial that this process is to make; None in a process of another kind, or if its run has begun."""
    if (text := os.environ.get(VARIABLE)) is None:
        return None
    try:
        return Trial(**json.loads(text))
    except (ValueError, TypeError):
        refuse(VARIABLE, "it is not what a sweep sets", "unset it")


def take_trial() -> Trial | None:
    """Return what `trial_of_process` does, and forget it: other runs of this process are no trial."""
    trial = trial_of_process()
    os.environ.pop(VARIABLE, None)
    return trial
