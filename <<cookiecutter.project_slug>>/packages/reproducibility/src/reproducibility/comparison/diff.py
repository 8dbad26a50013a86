"""The difference between two recorded runs: in what their inputs differ, and in what their results."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from ..config.loader import TEAM_SECTIONS
from ..config.values import flatten
from ..config.yaml import decoded, parse_yaml
from ..display import say
from ..errors import Refused, refuse
from ..evidence import ManifestError
from ..git.compare import Code, CodeDifference, FileDifference
from ..git.compare import compare as compare_code
from ..lockfile import LOCK
from ..project import PROJECT_ROOT, team_policy
from ..provenance.code import shapes_runs
from ..tags import FAILURE_TAG, INTERNAL, PROVENANCE_TAGS
from ..tracking.recorded import find_run, read_run
from ..tracking.store import connect, run_page
from .inputs import Found, InputDifference, UnknownInput, beside_code, compare_inputs, differing, ranked
from .metrics import MetricComparison, compare_metrics, histories
from .outputs import Finding, Outcome, compare_runs
from .verdict import Verdict
from .verified import VerifiedRun

CompareCode = Callable[[Code, Code], CodeDifference]


@dataclass(frozen=True)
class Difference:
    """Why two runs differ, and in what.

    unknown: what cannot be compared. irrelevant: what differs and changes no result. results: how the runs ended, and
    the params that their code logged, where these differ. metrics: all of them, those that differ most first.
    """

    a: VerifiedRun
    b: VerifiedRun
    input_differences: tuple[InputDifference, ...]
    unknown: tuple[UnknownInput, ...]
    irrelevant: tuple[InputDifference, ...]
    code: CodeDifference
    results: tuple[Finding, ...]
    metrics: tuple[MetricComparison, ...]

    @property
    def differing_metrics(self) -> tuple[MetricComparison, ...]:
        return tuple(metric for metric in self.metrics if metric.divergence)

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Which of the two runs did not finish: "A", "B"."""
        return tuple(side for side, run in (("A", self.a), ("B", self.b)) if not run.has_finished)

    @property
    def verdict(self) -> str:
        """One of the keys of `table.VERDICTS`.

        ``inputs``: the inputs differ. ``nondeterminism``: only the results differ. ``unexplained``: the results differ,
        and the unknown may explain it. ``end``: only the end differs. ``unknown``: nothing differs as far as is known.
        ``unfinished``: nothing differs as far as both runs got. ``identical``: nothing differs.
        """
        if self.input_differences:
            return "inputs"
        if self.differing_metrics or any(result.kind == "param" for result in self.results):
            return "unexplained" if self.unknown else "nondeterminism"
        if self.results:
            return "end"
        if self.unknown:
            return "unknown"
        return "unfinished" if self.unfinished else "identical"

    @property
    def exit_status(self) -> int:
        """0 if nothing differs, 1 if something does, 2 if that is unknown."""
        return {"identical": 0, "unknown": 2, "unfinished": 2}.get(self.verdict, 1)


def difference(
    a: VerifiedRun, b: VerifiedRun, metrics: tuple[MetricComparison, ...], compare_code: CompareCode
) -> Difference:
    """Return all that differs between two runs; *compare_code* is called only if their code may differ."""
    found = list(beside_code(a, b))
    code = _code(a, b, found, compare_code)
    logged = tuple(_results(a, b))
    unknown = tuple(each for each in found if isinstance(each, UnknownInput))
    if not any(metric.divergence for metric in metrics) and all(each.kind != "param" for each in logged):
        # All numbers are the same, so it does not matter that what they depend on is unknown.
        unknown = tuple(each for each in unknown if each.kind != "numerics")
    irrelevant = list(_labels(a, b))
    for file in sorted(code.files, key=lambda file: not file.path.startswith(("src/", "scripts/"))):
        is_cause = _may_explain(file, a, b, {each.kind for each in unknown})
        (found if is_cause else irrelevant).append(InputDifference("code", file.path, *_lines(file)))
    by_distance = sorted(metrics, key=lambda metric: (-metric.distance, metric.name))
    return Difference(a, b, ranked(found), unknown, tuple(irrelevant), code, logged, tuple(by_distance))


def _code(a: VerifiedRun, b: VerifiedRun, found: list[Found], compare_code: CompareCode) -> CodeDifference:
    """Compare the code; add to *found* what is unknown, and what differs and is no file."""
    if a.manifest and b.manifest:
        starts = [run.manifest.get("entry_point") for run in (a, b)]
        if None in starts:
            why = f"{_sides(starts)}: started from no file of the project, so its code is in no commit"
            found.append(UnknownInput("code", why))
        elif starts[0] != starts[1]:
            found.append(InputDifference("code", "entry point", *starts))
    commits, patches = [a.commit, b.commit], [a.patch_digest, b.patch_digest]
    if None in commits:
        found.append(UnknownInput("code", f"{_sides(commits)}: no commit was recorded"))
        return CodeDifference()
    if commits[0] == commits[1] and patches[0] == patches[1] is not None:
        return CodeDifference()
    code = compare_code(*(Code(run.commit, run.patch, run.tags.get("git_remote", "")) for run in (a, b)))
    found += (UnknownInput("code", problem) for problem in code.problems)
    if code.problems and not code.files and (commits[0] != commits[1] or None not in patches):
        found.append(InputDifference("code", "git_commit", *map(_commit_in_words, (a, b))))
    return code


def _sides(values: list[str | None]) -> str:
    """Name the sides whose value is None."""
    return " and ".join(side for side, value in zip("AB", values, strict=True) if value is None)


def _commit_in_words(run: VerifiedRun) -> str:
    patch = run.patch_digest
    changes = f" and changes {patch[7:17]}" if patch else " and changes" if patch is None else ""
    return f"{run.commit[:10]}{changes}"


def _lines(file: FileDifference) -> tuple[str | None, str | None]:
    """Say for each side how many lines only that side has."""
    if file.lines is None:
        return tuple("other bytes" if there else None for there in (file.in_a, file.in_b))
    words = [f"{count} line{'s' * (count != 1)}" if any(file.lines) else "another mode" for count in file.lines]
    return tuple(text if there else None for text, there in zip(words, (file.in_a, file.in_b), strict=True))


def _may_explain(file: FileDifference, a: VerifiedRun, b: VerifiedRun, unknown: set[str]) -> bool:
    """Tell whether a file that differs may explain the results.

    It does not if no training reads it, or if what it says is compared as config, data or packages anyway.
    """
    if not shapes_runs(file.path):
        return False
    if file.path in (LOCK, "pyproject.toml"):
        return "packages" in unknown
    if file.contents is not None and a.config is not None and b.config is not None:
        changed = _changed_keys(*file.contents)
        return changed is None or not changed <= a.config.keys() | b.config.keys()
    paths = {run.params.get("data.path", "").rstrip("/") for run in (a, b)} - {""}
    is_data = any(file.path == path or file.path.startswith(f"{path}/") for path in paths)
    return not is_data or "data" in unknown


def _changed_keys(a: bytes, b: bytes) -> set[str] | None:
    """Return the keys whose value differs between two YAML files, without the team's sections; None if unreadable."""
    try:
        old, new = (flatten(parse_yaml(decoded(side, ""), "")[0], quoted=True) if side else {} for side in (a, b))
    except Refused:
        return None
    changed = {difference.name for difference in differing("config", old, new)}
    return {key for key in changed if key.partition(".")[0] not in {*TEAM_SECTIONS, "extends"}}


def _labels(a: VerifiedRun, b: VerifiedRun) -> Iterator[InputDifference]:
    """Yield in what the names of two runs differ, and the tags that people gave them."""
    yield from differing("label", {"experiment": a.recorded.experiment}, {"experiment": b.recorded.experiment})
    yield from differing("label", a.tags, b.tags, ("git_commit", "git_branch", "git_remote", "author"))
    yield from differing("label", *(dict(_own_tags(run)) for run in (a, b)))


def _own_tags(run: VerifiedRun) -> Iterator[tuple[str, str]]:
    for key, value in run.recorded.run.data.tags.items():
        if key not in {*PROVENANCE_TAGS, FAILURE_TAG} and not key.startswith(("mlflow.", INTERNAL)):
            yield f"tag {key}", value


def _results(a: VerifiedRun, b: VerifiedRun) -> Iterator[Finding]:
    ends = [{"status": _end(run)} for run in (a, b)]
    # Without a manifest, and for a nested run, all params were compared as inputs.
    has_own = a.manifest and b.manifest and not a.shares_evidence and not b.shares_evidence
    logged = [run.own_params if has_own else {} for run in (a, b)]
    for each in (*differing("run", *ends), *differing("param", *logged)):
        yield Finding(each.kind, each.name, Outcome.DIFFERENT, each.a, each.b)


def _end(run: VerifiedRun) -> str:
    status, why = run.recorded.run.info.status, run.recorded.run.data.tags.get(FAILURE_TAG)
    return f"{status}: {why}" if why else status


def diff(a: str, b: str, with_patch: bool = False) -> Difference:
    """Compare the runs that the references *a* and *b* mean. *with_patch*: also return the patch between their code.

    Metrics that the team's policy does not compare are left out.

    Raises Refused when there is no such run, StoreUnavailable when the store is unreachable.
    """
    tolerance = team_policy().tolerance
    say("opening the tracking store ...")
    client = connect()
    both = tuple(VerifiedRun(read_run(client, find_run(client, reference))) for reference in (a, b))
    runs = [run.recorded.run for run in both]
    say(f"reading the metrics, {' and '.join(str(len(run.data.metrics)) for run in runs)} of them ...")
    compared = compare_metrics(
        tuple(run.data.metrics for run in runs),
        histories(client, *runs),
        tolerance,
        tuple(run.has_finished for run in both),
    )
    say("comparing the code ...")
    return difference(*both, tuple(compared), partial(compare_code, PROJECT_ROOT, with_patch=with_patch))


def results(a: str, b: str) -> Verdict:
    """Compare only the results of the runs that *a* and *b* mean, and of their nested runs.

    The verdict holds if all results match within the tolerance of the team's policy. The inputs may differ; the
    verdict names in what they do. Nothing is recorded.

    Raises Refused when there is no such run, when one cannot be read, and when both are the same run; StoreUnavailable
    when the store is unreachable.
    """
    tolerance = team_policy().tolerance
    say("opening the tracking store ...")
    client = connect()
    first, second = (read_run(client, find_run(client, reference)) for reference in (a, b))
    ids = [recorded.run.info.run_id for recorded in (first, second)]
    if ids[0] == ids[1]:
        refuse("run id", f"both are run {ids[0]}", "name two runs")
    try:
        given = frozenset(first.manifest["params"]) | frozenset(second.manifest["params"])
    except ManifestError as error:
        fix = "repro validate says which of the two has the problem, and what it is"
        refuse("evidence", f"runs {' and '.join(ids)} cannot be compared: {error}", fix)
    say("comparing ...")
    pairs = compare_runs(client, first.run, second.run, tolerance, given)
    return Verdict(ids[0], pairs, compare_inputs(first, second), (), run_page(client.tracking_uri, second.run))
