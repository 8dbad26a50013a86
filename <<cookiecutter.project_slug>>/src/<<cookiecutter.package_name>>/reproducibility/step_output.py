"""A step's output: what a step of a CI workflow hands to those after it, in the file that GITHUB_OUTPUT names."""

import os

from .violation import Refused, Violation

_VARIABLE = "GITHUB_OUTPUT"


def hand_on(name: str, value: str) -> None:
    """Add the line ``name=value`` to the file; outside CI, where there is none, do nothing.

    Raises Refused when the file cannot be written.
    """
    if not (path := os.environ.get(_VARIABLE)):
        return
    try:
        with open(path, "a", encoding="utf-8", newline="\n") as file:
            file.write(f"{name}={value}\n")
    except OSError as error:
        problem = f"{path} cannot be written ({error.strerror}), so no later step hears of {name} {value}"
        raise Refused([Violation(_VARIABLE, problem, "outside CI, unset it; inside, see who owns the file")]) from error
