"""The lock: requirements.txt as text, its pins, and the pins that lack a hash."""

import re
from collections.abc import Iterator
from functools import lru_cache

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from .errors import refuse

LOCK = "requirements.txt"
# What uv and pip-compile write for nearly every package. `packaging` takes ten times as long to read such a line; it
# reads every other line.
_PLAIN = re.compile(r"([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)==([0-9]+(?:\.[0-9]+)*)(?:\s+--hash=\S+)*", re.ASCII)


@lru_cache(maxsize=8)  # by the whole text: a project has three locks, and each run reads them anew
def _pins(lock: str, text: bytes, every_platform: bool) -> dict[str, str]:
    found = {}
    for number, line in _logical_lines(text.decode("utf-8", "replace")):
        if plain := _PLAIN.fullmatch(line):
            found[canonicalize_name(plain[1])] = plain[2]
            continue
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


def pins(lock: str, text: bytes, every_platform: bool = False) -> dict[str, str]:
    """Return {canonical name: version} for the lines of the *text* of the file *lock*.

    Lines whose marker does not hold on this machine are left out, unless *every_platform* is set. Raises Refused for a
    line that does not pin one package to one version.
    """
    return dict(_pins(lock, text, every_platform))


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
