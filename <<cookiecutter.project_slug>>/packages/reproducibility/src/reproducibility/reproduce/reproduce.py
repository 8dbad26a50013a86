"""A reproduction: a recorded run is made again from its id and compared with itself. The whole story, top to bottom."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..comparison.inputs import INTERPRETER, conditions
from ..comparison.outputs import Finding, Outcome, compare_runs, first_difference, worst
from ..comparison.verdict import Verdict
from ..config.loader import config_digest
from ..config.yaml import to_yaml
from ..display import say
from ..errors import Refused, Violation
from ..evidence import CONFIG, PATCH, ManifestError, agreement
from ..lockfile import LOCK
from ..policy import Tolerance
from ..project import CACHE, PROJECT_ROOT, team_policy
from ..rules import why_unsuccessful
from ..secrets import recordable
from ..tags import (
    FAILURE_TAG,
    REPRODUCED_BY,
    REPRODUCED_NOTE,
    REPRODUCED_VERDICT,
    REPRODUCES,
    REPRODUCES_NOTE,
    REPRODUCES_VERDICT,
)
from ..tracking.failure import Interruption
from ..tracking.recorded import RecordedRun, find_run, origin_differences, outermost, read_run
from ..tracking.store import connect, reachable, run_page
from .checkout import checkout
from .data import levels_above, recover
from .environment import interpreter, locked_environment
from .process import Process, contract, local_process, run_process

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# How a process is started that runs a recorded run again: see `container.run.reproduction_process`.
Launch = Callable[[RecordedRun, Path, Path, Mapping[str, Any], Mapping[str, str]], Process]


def reproduce(
    reference: str, *, force: bool = False, data: Path | None = None, launch: Launch | None = None
) -> Verdict:
    """Make the run that *reference* means again, compare both, and write the verdict on both.

    A run inside another one is made again with the whole of it, and judged by its own counterpart. data: where the
    run's data is now, if not where its config says. force: go on with a run that was altered or did not finish, or on
    another Python; the verdict names what was overridden. launch: how the process is started, if not in an environment
    that is made from the run's lock. The work tree, the index and the branches of the user's
    repository stay as they are. Whatever ends it early leaves no worktree, no half environment and no run RUNNING.

    Raises Refused when the run cannot be made again, with what is in the way, and StoreUnavailable.
    """
    try:
        return _reproduced(reference, force, data, launch)
    except OSError as error:
        problem = f"{error.filename or 'a file'} cannot be written or read here ({error.strerror or error})"
        raise Refused([Violation("this machine", problem, "make room or give permission there, then again")]) from error


def _reproduced(reference: str, force: bool, data: Path | None, launch: Launch | None) -> Verdict:
    tolerance = team_policy().tolerance
    say("finding the run ...")
    client = connect()
    asked = find_run(client, reference)
    original = read_run(client, outermost(client, asked))
    _require_evidence(original)
    doubts = list(_doubts(original))
    if doubts and not force:
        raise Refused(doubts)
    with Interruption() as interruption, tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        interruption.release()
        own = Path(folder).resolve()
        # As deep as the data is high: `../shared` leads to a place of ours too, and to none of our own files.
        place = own.joinpath(*["in"] * levels_above(str(original.values["data"]["path"])))
        place.mkdir(parents=True, exist_ok=True)
        with checkout(PROJECT_ROOT, original, place) as project, _undisturbed_at_its_end(interruption):
            values = recover(original, project, PROJECT_ROOT, data)
            runs = _train(client, interruption, original, values, project, own, force, launch)
            second = read_run(client, _the_one(client, runs, original, values))
            strange = list(_unlike(original, second))
            if strange and not force:
                raise Refused(strange)
            say("comparing ...")
            verdict = _verdict(client, asked, original, second, [*doubts, *strange], tolerance)
            record(client, verdict)
            return verdict


def compare_again(reference: str) -> Verdict:
    """Compare the run that *reference* means once more with the run that was last made to repeat it.

    For whoever must rely on the verdict: both are read and judged as they are now, and no tag is believed but for the
    name of the second run. Raises Refused when there is none, or when one of them was altered since.
    """
    client = connect()
    asked = find_run(client, reference)
    original = read_run(client, outermost(client, asked))
    again = original.run.data.tags.get(REPRODUCED_BY)
    if again is None:
        fix = f"repro reproduce {asked.info.run_id}"
        raise Refused([Violation(REPRODUCED_BY, "the run was not made again yet", fix)])
    second = read_run(client, find_run(client, again))
    if second.run.data.tags.get(REPRODUCES) != original.run.info.run_id or again == original.run.info.run_id:
        problem = f"the tag names {again[:40]!r}, which does not repeat this run"
        raise Refused([Violation(REPRODUCED_BY, problem, f"make it again: repro reproduce {asked.info.run_id}")])
    return compare_reproduction(client, asked, original, second)


def compare_reproduction(client: "MlflowClient", asked: "Run", original: RecordedRun, second: RecordedRun) -> Verdict:
    """Compare two recorded runs made from the same; *asked* is *original*, or a run inside it that is judged alone.

    Raises Refused when they were made from different things, or one of them was altered since.
    """
    for recorded in (original, second):
        _require_evidence(recorded)
    wrong = [*_doubts(original), *_doubts(second), *_unlike(original, second)]
    if wrong:
        raise Refused(wrong)
    return _verdict(client, asked, original, second, [], team_policy().tolerance)


def _verdict(
    client: "MlflowClient",
    asked: "Run",
    original: RecordedRun,
    second: RecordedRun,
    overridden: Iterable[Violation],
    tolerance: Tolerance,
) -> Verdict:
    differing = tuple(conditions(original, second))
    forced = [f"{violation.key}: {violation.problem}" for violation in overridden]
    forced += [str(condition) for condition in differing if condition.name in INTERPRETER]
    return Verdict(
        asked.info.run_id,
        compare_runs(client, original.run, second.run, tolerance, frozenset(original.manifest["params"])),
        differing,
        tuple(forced),
        run_page(client.tracking_uri, second.run),
    )


def _require_evidence(recorded: RecordedRun) -> None:
    """Raise Refused when the run lacks what nobody could go on without, even by force."""
    run_id = recorded.run.info.run_id
    if not recorded.evidence:
        fix = "record it once more, with `nox -s train` or `with tracked_run(config):`"
        raise Refused([Violation(f"run {run_id}", "it has no evidence, so nobody knows how it was made", fix)])
    try:
        manifest = recorded.manifest
    except ManifestError as problem:
        fix = "bring the manifest back; one of a later schema is read by a project that is updated from the template"
        raise Refused([Violation(f"run {run_id}", str(problem), fix)]) from None
    needed = [CONFIG, LOCK, *([PATCH] if manifest["tags"]["git_dirty"] == "true" else [])]
    if missing := [name for name in needed if name not in recorded.evidence]:
        fix = "nothing can stand in for it; where somebody deleted it, bring it back"
        raise Refused([Violation(f"run {run_id}", f"its evidence lacks {', '.join(missing)}", fix)])
    if manifest["entry_point"] is None:
        fix = "put its code into a script in scripts/, and record it once more"
        raise Refused([Violation(f"run {run_id}", "it was started from no file, so its code is in no commit", fix)])


def _doubts(recorded: RecordedRun) -> Iterator[Violation]:
    """What speaks against the run as it is recorded: it was altered, or never came to its end."""
    run = recorded.run
    for check in agreement(run.data.tags, recorded.params, recorded.evidence):
        if not check.holds:
            fix = (
                "the run was altered after it was recorded; --force goes on with its evidence, and the verdict says so"
            )
            yield Violation(f"run {run.info.run_id}", f"{check.name}: {check.evidence}", fix)
    why = why_unsuccessful(run.data.tags)
    if run.info.status != "FINISHED" or run.info.lifecycle_stage != "active" or why:
        state = run.info.status if run.info.lifecycle_stage == "active" else "deleted"
        problem = f"the run is {state}{f' ({why})' if why else ''}, so there is no whole result to compare with"
        yield Violation(f"run {run.info.run_id}", problem, "choose one that finished, or add --force")


@contextmanager
def _undisturbed_at_its_end(interruption: Interruption) -> Iterator[None]:
    try:
        yield
    finally:
        interruption.hold()


def _train(
    client: "MlflowClient",
    interruption: Interruption,
    original: RecordedRun,
    values: Mapping[str, Any],
    project: Path,
    own: Path,
    force: bool,
    launch: Launch | None,
) -> "list[Run]":
    """Run the recorded entry point of *project* on the config *values*; return the runs that came out.

    *own* is the folder for what the process needs beside the project.
    """
    attempt = uuid4().hex
    variables = contract(attempt, original)
    config = own / CONFIG
    config.write_text(to_yaml(values), encoding="utf-8")
    if launch is not None:
        process = launch(original, project, config, values, variables)
    else:
        manifest = original.manifest
        python = interpreter(manifest["environment"], force=force)
        python = locked_environment(original.evidence[LOCK], python, CACHE / "environments")
        process = local_process(python, project, manifest["entry_point"], config, own / "metadata", variables)
    say("making the run again ...")
    return run_process(client, interruption, attempt, process)


def _the_one(client: "MlflowClient", runs: "list[Run]", original: RecordedRun, values: Mapping[str, Any]) -> "Run":
    """Return which of *runs* repeats *original*; a script may record several, and the others repeat other runs."""
    wanted = config_digest(values)
    run = next((run for run in runs if run.data.tags.get("config_digest") == wanted), runs[0])
    for other in runs:
        if other is not run:
            client.delete_tag(other.info.run_id, REPRODUCES)
    if run.info.status != "FINISHED":
        why = run.data.tags.get(FAILURE_TAG, "it says no reason")
        problem = f"made again as run {run.info.run_id}, it ended {run.info.status}: {why}"
        fix = "what the run needs and nothing records is not here; what it said stands above"
        raise Refused([Violation(f"run {original.run.info.run_id}", problem, fix)])
    return run


def _unlike(original: RecordedRun, second: RecordedRun) -> Iterator[Violation]:
    """What keeps the second run from being a repetition: it was made from something else."""
    for tag, first, other in origin_differences(original, second):
        problem = f"the second run, {second.run.info.run_id}, has {other} instead of {first}"
        fix = "its entry point must take the config that it is given, and change neither code nor data"
        yield Violation(tag, problem, fix)


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
                _set_tags(client, pair.second, told)
            elif pair.second is not None:
                client.delete_tag(pair.second, REPRODUCES)
            if pair.first is not None:
                told = {REPRODUCED_BY: pair.second or "none", REPRODUCED_VERDICT: outcome, REPRODUCED_NOTE: note}
                _set_tags(client, pair.first, told)


def _note(findings: Iterable[Finding], verdict: Verdict) -> str:
    findings = list(findings)
    differing = first_difference(findings) or first_difference(findings, Outcome.WITHIN)
    told = [str(each) for each in (differing, *verdict.forced, *verdict.conditions) if each is not None]
    return recordable("; ".join(told) or "nothing differs")


def _set_tags(client: "MlflowClient", run_id: str, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        client.set_tag(run_id, key, value)
