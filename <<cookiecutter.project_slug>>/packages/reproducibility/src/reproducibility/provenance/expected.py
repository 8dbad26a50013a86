"""What the trials of a sweep have in common, wherever they run: code, packages, data, image and Python."""

import json
import os
from collections.abc import Iterator, Mapping

from ..digest import canonical, digest
from ..display import one_line
from ..errors import Violation
from .gather import Provenance

# The facts that a run of this process must have, as JSON. The driver of a sweep sets the variable for each trial.
VARIABLE = "REPRODUCIBILITY_EXPECTED"
UNKNOWN = "unknown"


def facts(provenance: Provenance) -> dict[str, str]:
    """Return what the runs of one sweep must have in common: {name: text}, ``unknown`` for what is not known."""
    git, environment = provenance.git, provenance.environment
    found = dict.fromkeys(
        ("git_commit", "uncommitted changes", "data_version", "lock_digest", "packages", "image", "python"), UNKNOWN
    )
    if git:
        found |= {"git_commit": git.commit, "uncommitted changes": digest(git.patch) if git.dirty else "none"}
    if provenance.data:
        found["data_version"] = provenance.data.version
    if environment:
        found |= {
            "lock_digest": environment.lock_digest,
            "packages": digest(canonical(environment.packages)),
            "image": environment.image,
            "python": f"{environment.implementation} {environment.python}",
        }
    return found


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Return a clause for each of the *expected* facts that *found* does not have."""
    return [
        f"{name} is {one_line(found.get(name, UNKNOWN), 80)} instead of {one_line(value, 80)}"
        for name, value in expected.items()
        if found.get(name) != value
    ]


def unexpected(provenance: Provenance) -> Iterator[Violation]:
    """Yield a violation for each fact of this process that differs from what the variable says; none if it is unset."""
    if (text := os.environ.get(VARIABLE)) is None:
        return
    fix = "run the trial where the sweep's commit is checked out, with the packages and the data of the sweep"
    try:
        expected = {str(name): str(value) for name, value in json.loads(text).items()}
    except (ValueError, AttributeError):
        yield Violation(VARIABLE, "it is not what a sweep sets", "unset it")
        return
    for difference in differences(expected, facts(provenance)):
        yield Violation("sweep", f"this is not what the sweep runs on: {difference}", fix)
