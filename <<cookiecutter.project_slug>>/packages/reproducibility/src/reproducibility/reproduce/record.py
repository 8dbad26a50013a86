"""The record of a run: whether it has what a reproduction needs, and why it cannot be relied on."""

from collections.abc import Iterator

from ..errors import Refused, Violation, refuse
from ..evidence import CONFIG, ManifestError, agreement, needed_files
from ..provenance.data import data_path
from ..rules import why_unsuccessful
from ..tags import SWEEP_TAG, TRIAL_TAG
from ..tracking.recorded import RecordedRun, origin_differences


def require_evidence(recorded: RecordedRun) -> None:
    """Raise Refused when the run lacks what a reproduction needs in any case, even by force."""
    run = f"run {recorded.run.info.run_id}"
    if SWEEP_TAG in recorded.run.data.tags and TRIAL_TAG not in recorded.run.data.tags:
        refuse(run, "it is a sweep, whose results are those of its trials", "name one of its trials")
    if not recorded.evidence:
        fix = "record it once more, with `nox -s train` or `with tracked_run(config):`"
        refuse(run, "it has no evidence, so nobody knows how it was made", fix)
    try:
        manifest = recorded.manifest
    except ManifestError as problem:
        fix = "restore the manifest; update the project from the template if a newer version wrote the manifest"
        refuse(run, str(problem), fix)
    fix = "nothing can stand in for it; where somebody deleted or altered it, restore it"
    if missing := [name for name in needed_files(manifest["tags"]) if name not in recorded.evidence]:
        refuse(run, f"its evidence lacks {', '.join(missing)}", fix)
    try:
        data_path(recorded.values)
    except Refused as refused:
        refuse(run, f"its {CONFIG} is not the config of a run: {refused.violations[0].problem}", fix)
    if manifest["entry_point"] is None:
        fix = "put its code into a script in scripts/, and record it once more"
        refuse(run, "it was started from no file, so its code is in no commit", fix)
    if hidden := (manifest.get("start") or {}).get("hidden"):
        numbers = " and ".join(str(position + 1) for position in hidden)
        fix = "let the script read secrets from the environment, and record it once more"
        refuse(run, f"its script was given a secret as argument {numbers}, and nothing records secrets", fix)


def record_problems(recorded: RecordedRun) -> Iterator[Violation]:
    """Yield why the record of the run cannot be relied on: it was altered, or the run did not finish."""
    run = recorded.run
    for check in agreement(run.data.tags, recorded.params, recorded.evidence):
        if not check.holds:
            fix = "somebody altered the run; --force goes on with its evidence, and the verdict says so"
            yield Violation(f"run {run.info.run_id}", f"{check.name}: {check.detail}", fix)
    why = why_unsuccessful(run.data.tags)
    if run.info.status != "FINISHED" or run.info.lifecycle_stage != "active" or why:
        state = run.info.status if run.info.lifecycle_stage == "active" else "deleted"
        problem = f"the run is {state}{f' ({why})' if why else ''}, so there is no whole result to compare with"
        yield Violation(f"run {run.info.run_id}", problem, "choose one that finished, or add --force")


def origin_problems(original: RecordedRun, reproduction: RecordedRun) -> Iterator[Violation]:
    """Yield each difference in code, data, packages or config: with one, *reproduction* is not a reproduction."""
    for tag, expected, found in origin_differences(original, reproduction):
        problem = f"the reproduction, {reproduction.run.info.run_id}, has {found} instead of {expected}"
        fix = "its entry point must take the config that it is given, and change neither code nor data"
        yield Violation(tag, problem, fix)
