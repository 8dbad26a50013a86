"""A difference between two recorded runs: what was not the same when they started, and what came out."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..config.loader import TEAM_SECTIONS
from ..config.yaml import decoded, parse_yaml
from ..display import say
from ..errors import Refused, Violation
from ..evidence import ManifestError
from ..git.compare import Code, CodeDifference, FileDifference
from ..git.compare import compare as compare_code
from ..lockfile import LOCK
from ..project import PROJECT_ROOT, team_policy
from ..tags import FAILURE_TAG, PROCESS_TAG, PROVENANCE_TAGS
from ..tracking.recorded import find_run, origin_differences, read_run
from ..tracking.store import connect, run_page
from .inputs import (
    Cause,
    Condition,
    NotComparable,
    VerifiedRun,
    _Found,
    commit_of,
    conditions,
    input_differences,
    leaves,
    ranked,
)
from .metrics import MetricDifference, histories
from .metrics import compare_metrics as compare_metrics
from .outputs import compare_runs
from .verdict import Verdict

if TYPE_CHECKING:
    from mlflow import MlflowClient


# What no training reads: words, tests, checks and tools.
BESIDE = re.compile(
    r"(tests|docs|\.github|\.ci)/.*|.*\.(md|rst)|LICENSE.*|noxfile\.py|Dockerfile|\.[\w.-]+|requirements-\w+\.txt"
)
CompareCode = Callable[[Code, Code], CodeDifference]


@dataclass(frozen=True)
class Remark:
    """Something that differs and explains nothing: a name, a place, a file that no training reads."""

    key: str
    a: str | None
    b: str | None


@dataclass(frozen=True)
class Difference:
    """Why two runs differ, and in what. `results` are params and the end that the runs recorded of themselves."""

    a: VerifiedRun
    b: VerifiedRun
    causes: tuple[Cause, ...]
    untold: tuple[NotComparable, ...]
    remarks: tuple[Remark, ...]
    code: CodeDifference
    results: tuple[Remark, ...]
    metrics: tuple[MetricDifference, ...]

    @property
    def parted(self) -> tuple[MetricDifference, ...]:
        """The metrics that differ, those that differ most first."""
        return tuple(metric for metric in self.metrics if metric.parting)

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Which of the two has not reached its end: "A", "B"."""
        return tuple(side for side, run in (("A", self.a), ("B", self.b)) if not ended(run))

    @property
    def verdict(self) -> str:
        """`causes`, `nondeterminism`, `unexplained` (something that cannot be told may explain it), `end` (only the end
        differs), `untold` or `identical`.
        """
        if self.causes:
            return "causes"
        if self.parted or any(result.key != "status" for result in self.results):
            return "unexplained" if self.untold else "nondeterminism"
        if self.results:
            return "end"
        return "untold" if self.untold or self.unfinished else "identical"

    @property
    def exit_status(self) -> int:
        """0 when nothing differs, 1 when something does, 2 when that cannot be told."""
        return {"identical": 0, "untold": 2}.get(self.verdict, 1)


def ended(testimony: VerifiedRun) -> bool:
    """Tell whether a run reached its end: one that failed or is still going on did not."""
    return testimony.recorded.run.info.status == "FINISHED"


def difference(
    a: VerifiedRun, b: VerifiedRun, metrics: tuple[MetricDifference, ...], compare_code: CompareCode
) -> Difference:
    """Return all that differs between two runs; *compare_code* is asked only where their code may differ."""
    found = list(input_differences(a, b))
    code = _code(a, b, found, compare_code)
    untold = {finding.kind for finding in found if isinstance(finding, NotComparable)}
    remarks = [*_remarks(a, b)]
    for file in sorted(code.files, key=lambda file: not file.path.startswith(("src/", "scripts/"))):
        if _is_told(file, a, b, untold):
            remarks.append(Remark(file.path, *_lines(file)))
        else:
            found.append(Cause("code", file.path, *_lines(file)))
    return Difference(
        a,
        b,
        ranked(finding for finding in found if isinstance(finding, Cause)),
        tuple(finding for finding in found if isinstance(finding, NotComparable)),
        tuple(remarks),
        code,
        tuple(_results(a, b)),
        metrics,
    )


def _code(a: VerifiedRun, b: VerifiedRun, found: list[_Found], compare_code: CompareCode) -> CodeDifference:
    """Compare the code, and add to *found* what cannot be told and what is no file."""
    if a.manifest and b.manifest:
        starts = [testimony.manifest.get("entry_point") for testimony in (a, b)]
        if None in starts:
            sides = " and ".join(side for side, start in zip("AB", starts, strict=True) if start is None)
            found.append(
                NotComparable("code", f"{sides}: started from no file of the project, so its code is in no commit")
            )
        elif starts[0] != starts[1]:
            found.append(Cause("code", "entry point", *starts))
    commits = [commit_of(testimony) for testimony in (a, b)]
    patches = [_patch_name(testimony) for testimony in (a, b)]
    if None in commits:
        sides = " and ".join(side for side, commit in zip("AB", commits, strict=True) if commit is None)
        found.append(NotComparable("code", f"{sides}: no commit was recorded"))
        return CodeDifference()
    if commits[0] == commits[1] and patches[0] == patches[1] is not None:
        return CodeDifference()
    both = (
        Code(commit, testimony.patch, testimony.tags.get("git_remote", ""))
        for commit, testimony in zip(commits, (a, b), strict=True)
    )
    code = compare_code(*both)
    for problem in code.problems:
        found.append(NotComparable("code", problem))
    if code.problems and not code.files and (commits[0] != commits[1] or None not in patches):
        found.append(Cause("code", "git_commit", *(_named(testimony) for testimony in (a, b))))
    return code


def _patch_name(testimony: VerifiedRun) -> str | None:
    """Return what tells one patch from another, "" for none; None where that is not known."""
    if testimony.tags.get("git_dirty") == "false":
        return ""
    return testimony.manifest.get("patch_digest") if testimony.manifest else None


def _named(testimony: VerifiedRun) -> str:
    patch = _patch_name(testimony)
    changes = f" and changes {patch[7:17]}" if patch else " and changes" if patch is None else ""
    return f"{testimony.tags['git_commit'][:10]}{changes}"


def _lines(file: FileDifference) -> tuple[str | None, str | None]:
    """Say how many lines only each side has."""
    if file.lines is None:
        return tuple("other bytes" if there else None for there in (file.in_a, file.in_b))
    said = [f"{count} line{'s' * (count != 1)}" if any(file.lines) else "another mode" for count in file.lines]
    return tuple(text if there else None for text, there in zip(said, (file.in_a, file.in_b), strict=True))


def _is_told(file: FileDifference, a: VerifiedRun, b: VerifiedRun, untold: set[str]) -> bool:
    """Tell whether what differs in a file explains nothing, or is told by the config, the data or the packages."""
    if BESIDE.fullmatch(file.path):
        return True
    if file.path in (LOCK, "pyproject.toml"):
        return "packages" not in untold
    configs = [testimony.config for testimony in (a, b)]
    if file.contents is not None and None not in configs:
        changed = _changed_keys(*file.contents)
        return changed is not None and changed <= configs[0].keys() | configs[1].keys()
    paths = {testimony.params.get("data.path", "").rstrip("/") for testimony in (a, b)} - {""}
    return "data" not in untold and any(file.path == path or file.path.startswith(f"{path}/") for path in paths)


def _changed_keys(a: bytes, b: bytes) -> set[str] | None:
    """Return the keys of two YAML files that have not the same value, the team's sections aside; None if unreadable."""
    try:
        old, new = (leaves(parse_yaml(decoded(side, ""), "")[0]) if side else {} for side in (a, b))
    except Refused:
        return None
    changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    return {key for key in changed if key.partition(".")[0] not in {*TEAM_SECTIONS, "extends"}}


def _remarks(a: VerifiedRun, b: VerifiedRun) -> Iterator[Remark]:
    yield from _remarked({"experiment": a.recorded.experiment}, {"experiment": b.recorded.experiment})
    facts = ("git_commit", "git_branch", "git_remote", "author")
    tags = [{key: testimony.tags[key] for key in facts if key in testimony.tags} for testimony in (a, b)]
    yield from _remarked(*tags)
    own = []
    for testimony in (a, b):
        mine = testimony.recorded.run.data.tags.items()
        internal = PROVENANCE_TAGS | {FAILURE_TAG, PROCESS_TAG}
        own.append({f"tag {key}": value for key, value in mine if key not in internal and key[:7] != "mlflow."})
    yield from _remarked(*own)


def _results(a: VerifiedRun, b: VerifiedRun) -> Iterator[Remark]:
    ends = []
    for testimony in (a, b):
        run, why = testimony.recorded.run, testimony.recorded.run.data.tags.get(FAILURE_TAG)
        ends.append({"status": f"{run.info.status}{f': {why}' if why else ''}"})
    yield from _remarked(*ends)
    # Without a manifest, and inside another run, they were compared as what the runs started with.
    if a.manifest and b.manifest and not a.is_part and not b.is_part:
        yield from _remarked(*({f"param {key}": value for key, value in side.own_params.items()} for side in (a, b)))


def _remarked(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[Remark]:
    for key in sorted(a.keys() | b.keys()):
        if a.get(key) != b.get(key):
            yield Remark(key, a.get(key), b.get(key))


def diff(a: str, b: str, with_patch: bool = False) -> Difference:
    """Compare the runs that the references *a* and *b* mean; with the patch between their code if that is wanted.

    What the team's policy says tells nothing about what was learned, such as MLflow's measures of the machine, is left
    out of the metrics.

    Raises Refused when one is not there, StoreUnavailable when the store is away.
    """
    policy = team_policy()
    say("opening the tracking store ...")
    client = connect()
    both = tuple(_testimony(client, reference) for reference in (a, b))
    runs = [testimony.recorded.run for testimony in both]
    say(f"reading the metrics, {' and '.join(str(len(run.data.metrics)) for run in runs)} of them ...")
    metrics = compare_metrics(
        tuple(run.data.metrics for run in runs),
        tuple(histories(client, run) for run in runs),
        tuple(ended(testimony) for testimony in both),
        policy.tolerance.not_compared,
    )
    say("comparing the code ...")
    return difference(*both, metrics, partial(compare_code, PROJECT_ROOT, with_patch=with_patch))


def results(a: str, b: str) -> Verdict:
    """Compare only what came out of the runs that *a* and *b* mean, and of those inside them, as if *b* repeated *a*.

    It holds if all of it is the same within the tolerance of the team's policy. What they were made from does not
    count; where it differs, it is among the conditions. Nothing is recorded.

    Raises Refused when one is not there or cannot be read and when both are one, StoreUnavailable when it is away.
    """
    tolerance = team_policy().tolerance
    say("opening the tracking store ...")
    client = connect()
    first, second = (read_run(client, find_run(client, reference)) for reference in (a, b))
    ids = [recorded.run.info.run_id for recorded in (first, second)]
    if ids[0] == ids[1]:
        raise Refused([Violation("run id", f"both are run {ids[0]}", "name two runs")])
    try:
        given = frozenset(first.manifest["params"])
        differing = [*(Condition(*each) for each in origin_differences(first, second)), *conditions(first, second)]
    except (ManifestError, KeyError) as error:
        fix = "repro validate says which of the two it is, and what is wrong with it"
        raise Refused([Violation("evidence", f"runs {' and '.join(ids)} cannot be compared: {error}", fix)]) from None
    say("comparing ...")
    pairs = compare_runs(client, first.run, second.run, tolerance, given)
    return Verdict(ids[0], pairs, tuple(differing), (), run_page(client.tracking_uri, second.run))


def _testimony(client: "MlflowClient", reference: str) -> VerifiedRun:
    return VerifiedRun(read_run(client, find_run(client, reference)))
