"""A proof: a second process made the run again, from the same commit, config, data and lock, and it came out the same.

A stored one counts: any other recorded run that was made from the same. No tag is believed, the two are compared anew.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..process import PROCESS_TAG
from ..recorded_run import RecordedRun, read, search, unlike
from ..reproduction import judged, reproduce
from ..store import reachable
from ..verdict import Verdict
from ..violation import Refused, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient
    from mlflow.entities import Run

# So many of the newest are compared, and every one of them has to agree.
_COMPARED = 3
_LOOKED_AT = 50
_SAME = ("git_commit", "data_version", "lock_digest")
_PLAIN = re.compile(r"[\w:]+")


@dataclass(frozen=True)
class Proof:
    """What second runs gave. verdicts: one for each of them. problems: why there is none, if there is none."""

    verdicts: tuple[Verdict, ...] = ()
    problems: tuple[Violation, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether there is a second run, and none that came out differently."""
        return bool(self.verdicts) and all(verdict.holds for verdict in self.verdicts)


def proof(client: "MlflowClient", recorded: RecordedRun, *, make: bool) -> Proof:
    """Return what the second runs of *recorded* say; without any, *make* lets it be made again now.

    Raises StoreUnavailable.
    """
    run_id = recorded.run.info.run_id
    found = []
    for run in _twins(client, recorded.run):
        try:
            second = read(client, run)
            if unlike(recorded, second) or recorded.manifest["patch_digest"] != second.manifest["patch_digest"]:
                continue
            verdict = judged(client, recorded.run, recorded, second)
        except (Refused, ValueError, KeyError, TypeError):
            continue  # altered, without evidence, or of another making: it says nothing about this one
        if not verdict.forced:  # another Python is no second process of the same
            found.append(verdict)
        if len(found) == _COMPARED:
            break
    if found:
        return Proof(tuple(found))
    if not make:
        problem = "no second process has made this run again, so nothing shows that the seed does what it should"
        return Proof(problems=(Violation("seed", problem, "repro checklist --prove"),))
    try:
        return Proof((reproduce(run_id),))
    except Refused as refused:
        return Proof(problems=refused.violations)


def _twins(client: "MlflowClient", run: "Run") -> "Iterator[Run]":
    """Yield the finished runs that say they were made from the same as *run*, by other processes, the newest first."""
    if not all(_PLAIN.fullmatch(run.data.tags.get(tag, "")) for tag in _SAME):
        return  # altered: nothing was recorded like that
    same = [f"tags.{tag} = '{run.data.tags.get(tag, '')}'" for tag in _SAME]
    rules = ["attributes.status = 'FINISHED'", "tags.`mlflow.parentRunId` IS NULL", *same]
    with reachable(client.tracking_uri):
        twins = search(client, " AND ".join(rules), _LOOKED_AT)
    process = run.data.tags.get(PROCESS_TAG)
    for twin in twins:
        if twin.info.run_id != run.info.run_id and twin.data.tags.get(PROCESS_TAG) not in (None, process):
            yield twin
