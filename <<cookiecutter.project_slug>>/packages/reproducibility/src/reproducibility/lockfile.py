"""The lock: requirements.txt as text, its pins, and the pins that lack a hash."""

import re
from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from .errors import refuse

LOCK = "requirements.txt"


def pins(lock: str, text: bytes, every_platform: bool = False) -> dict[str, str]:
    """Return {canonical name: version} for the lines of the *text* of the file *lock*.

    Lines whose marker does not hold on this machine are left out, unless *every_platform* is set.
    """
    found = {}
    for number, line in _logical_lines(text.decode("utf-8", "replace")):
        try:
            requirement = Requirement(re.split(r"\s--hash=", line, maxsplit=1)[0])
        except InvalidRequirement:
            requirement = None
        versions = list(requirement.specifier) if requirement else []
        if len(versions) != 1 or versions[0].operator != "==":
            problem = f"{lock}:{number} does not pin one version ({line[:60]!r})"
            refuse("lock_digest", problem, "run: nox -s lock")
        if every_platform or requirement.marker is None or requirement.marker.evaluate():
            found[canonicalize_name(requirement.name)] = versions[0].version
    return found


def unhashed(text: bytes) -> list[str]:
    """Return the pins in a lock's *text* that no hash secures."""
    lines = (line for _, line in _logical_lines(text.decode("utf-8", "replace")))
    return [line.split()[0] for line in lines if not re.search(r"\s--hash=sha256:[0-9a-f]{64}", line)]


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) with continued lines joined, without comments and blank lines."""
    start, parts = 0, []
    for number, line in enumerate(text.splitlines(), 1):
        start = start if parts else number
        parts.append(line.strip().removesuffix("\\").strip())
        if not line.rstrip().endswith("\\"):
            joined = " ".join(parts)
            parts = []
            if joined and not joined.startswith("#"):
                yield start, joined
