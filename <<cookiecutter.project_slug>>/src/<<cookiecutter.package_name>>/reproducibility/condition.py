"""A condition: what was not the same under the code of two runs, the machine and the packages."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .environment import LOCK, pins
from .recorded_run import RecordedRun

# What two machines may differ in, and a verdict names where they do. A run is made again on another of the first two
# only by force.
INTERPRETER = ("implementation", "python")
_UNDER_THE_CODE = (*INTERPRETER, "platform", "machine", "cpu", "cores", "gpus", "hash_seed", "image")


@dataclass(frozen=True)
class Condition:
    """One thing under the code that was not the same for both runs: the interpreter, the CPU, a package."""

    name: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.name}: {self.first} and {self.second}"


def conditions(original: RecordedRun, second: RecordedRun) -> Iterator[Condition]:
    """Yield what was not the same for both; of the packages only those count that the lock names.

    Raises ManifestError or Refused where the evidence of one cannot be read.
    """
    first, other = original.manifest, second.manifest
    for name in _UNDER_THE_CODE:
        if first["environment"][name] != other["environment"][name]:
            yield Condition(name, *(_in_words(manifest["environment"][name]) for manifest in (first, other)))
    versions = (first["environment"]["packages"], other["environment"]["packages"])
    for name in pins(LOCK, original.evidence[LOCK]):
        if versions[0].get(name) != versions[1].get(name):
            yield Condition(f"package {name}", *(each.get(name, "not installed") for each in versions))
    paths = [str(recorded.values["data"]["path"]) for recorded in (original, second)]
    if paths[0] != paths[1]:
        yield Condition("data.path", *paths)
    if first["patch_digest"] != other["patch_digest"]:
        yield Condition("patch", *(str(manifest["patch_digest"]) for manifest in (first, other)))


def _in_words(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
