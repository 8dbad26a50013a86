"""A verdict: how a run that was made again compares with the one it repeats, told as tags of both.

On the run that was made again:

- ``reproduces``: the id of the run that it repeats, from its first moment on;
- ``reproduces_verdict``: ``identical``, ``within tolerance`` or ``different``; with `` (forced)`` behind it where
  --force overrode something, and then nobody should rely on it;
- ``reproduces_note``: what differs first, what was forced, and in what the two machines differ.

On the run that is repeated the same of the last time: ``reproduced_by``, ``reproduced_verdict``, ``reproduced_note``.
Tags can be written by anybody. Whoever has to rely on them asks `reproduction.recheck`, which compares both runs anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .comparison import Finding, Outcome, first_difference, worst
from .condition import Condition
from .failure import recordable
from .judgement import REPRODUCED_BY, REPRODUCED_VERDICT, REPRODUCES
from .store import reachable

if TYPE_CHECKING:
    from mlflow import MlflowClient

REPRODUCES_VERDICT, REPRODUCES_NOTE = "reproduces_verdict", "reproduces_note"
REPRODUCED_NOTE = "reproduced_note"


@dataclass(frozen=True)
class Pair:
    """A run and the one that repeats it, by their ids; None where there is none. name: empty for the outermost run."""

    name: str
    first: str | None
    second: str | None
    findings: tuple[Finding, ...]

    @property
    def outcome(self) -> Outcome:
        return worst(finding.outcome for finding in self.findings)


@dataclass(frozen=True)
class Verdict:
    """What came out. pairs: the run and then, in order, those inside it. asked: the id of the one that is judged.

    forced: what was known to be wrong and overridden. place: where a person finds the new run.
    """

    asked: str
    pairs: tuple[Pair, ...]
    conditions: tuple[Condition, ...]
    forced: tuple[str, ...]
    place: str

    @property
    def judged(self) -> tuple[Pair, ...]:
        """The pairs that count: of the outermost run all, of one inside it its own."""
        whole = self.pairs[0].first == self.asked
        return self.pairs if whole else tuple(pair for pair in self.pairs if pair.first == self.asked)

    @property
    def outcome(self) -> Outcome:
        return worst(pair.outcome for pair in self.judged)

    @property
    def holds(self) -> bool:
        return self.outcome is not Outcome.DIFFERENT

    @property
    def first_difference(self) -> Finding | None:
        """The earliest thing that differs, else the earliest that is only within the tolerance."""
        findings = [finding for pair in self.judged for finding in pair.findings]
        return first_difference(findings) or first_difference(findings, Outcome.WITHIN)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data; a number that JSON has not is text, as `nan`."""
        return {
            "run": self.asked,
            "reproduction": self.judged[0].second,
            "verdict": self.outcome.value,
            "holds": self.holds,
            "first_difference": _plain(self.first_difference) if self.first_difference else None,
            "conditions": [asdict(condition) for condition in self.conditions],
            "forced": list(self.forced),
            "runs": [
                asdict(pair) | {"findings": [_plain(finding) for finding in pair.findings]} for pair in self.pairs
            ],
            "place": self.place,
        }


def _plain(finding: Finding) -> dict[str, Any]:
    plain = asdict(finding)
    values = {key: plain[key] for key in ("first", "second") if isinstance(plain[key], float)}
    return plain | {key: value if abs(value) < float("inf") else repr(value) for key, value in values.items()}


def record(client: "MlflowClient", verdict: Verdict) -> None:
    """Write the verdict on every run that it is about, as the tags above; on the outermost what is true of all."""
    forced = " (forced)" if verdict.forced else ""
    with reachable(client.tracking_uri):
        for number, pair in enumerate(verdict.pairs):
            findings = [each for other in (verdict.pairs if number == 0 else [pair]) for each in other.findings]
            outcome = worst(finding.outcome for finding in findings).value + forced
            note = _note(findings, verdict)
            if pair.second is not None and pair.first is not None:
                told = {REPRODUCES: pair.first, REPRODUCES_VERDICT: outcome, REPRODUCES_NOTE: note}
                _set(client, pair.second, told)
            elif pair.second is not None:
                client.delete_tag(pair.second, REPRODUCES)
            if pair.first is not None:
                told = {REPRODUCED_BY: pair.second or "none", REPRODUCED_VERDICT: outcome, REPRODUCED_NOTE: note}
                _set(client, pair.first, told)


def _note(findings: Iterable[Finding], verdict: Verdict) -> str:
    findings = list(findings)
    differing = first_difference(findings) or first_difference(findings, Outcome.WITHIN)
    told = [str(each) for each in (differing, *verdict.forced, *verdict.conditions) if each is not None]
    return recordable("; ".join(told) or "nothing differs")


def _set(client: "MlflowClient", run_id: str, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        client.set_tag(run_id, key, value)
