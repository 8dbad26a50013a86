"""A reproduction: a recorded run is made once more from its id, and the two runs are compared.

The order of steps: find the run and check its record, check out its code, recover its data, install its packages, run
its entry point, compare, and write the verdict as tags of both runs.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from ..comparison.inputs import compare_inputs
from ..comparison.outputs import Finding, Outcome, compare_runs, first_difference, worst
from ..comparison.verdict import Verdict
from ..config.values import config_digest
from ..config.yaml import to_yaml
from ..display import say
from ..errors import Refused, Violation, refuse
from ..evidence import CONFIG
from ..lockfile import LOCK
from ..policy import Tolerance
from ..project import PROJECT_ROOT, team_policy
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
from ..tracking.recorded import RecordedRun, find_run, outermost, read_run
from ..tracking.store import connect, reachable, run_page
from .checkout import checkout
from .data import levels_above, recover
from .environment import environment_cache, interpreter, locked_environment
from .process import Process, contract, local_process, repeats_config, run_process
from .record import origin_problems, record_problems, require_evidence

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# How another place than this machine starts the process: recorded run, root of the project in the checkout, file of the
# config, values of the config, variables of the contract -> process. See `container.run.reproduction_process`.
Launch = Callable[[RecordedRun, Path, Path, Mapping[str, Any], Mapping[str, str | None]], Process]


def reproduce(
    reference: str, *, force: bool = False, data: Path | None = None, launch: Launch | None = None
) -> Verdict:
    """Reproduce the run that *reference* means, compare the two runs, and write the verdict on both.

    A run inside another one is reproduced together with the outermost run, and compared with its own counterpart.

    data: where the run's data is now, if not where its config says.
    force: go on with a run that was altered or did not finish, or with another Python; the verdict lists this.
    launch: how the process is started; by default on this machine, with the packages of the run's lock.

    The work tree, the index and the branches of the user's repository stay as they are. Whatever ends the call early
    leaves no worktree, no incomplete environment and no run RUNNING. Raises Refused with every reason why the run
    cannot be reproduced, and StoreUnavailable.
    """
    try:
        return _reproduce(reference, force, data, launch)
    except OSError as error:
        problem = f"{error.filename or 'a file'} cannot be written or read ({error.strerror or error})"
        refuse("this machine", problem, "make room or give permission there, then try again")


def _reproduce(reference: str, force: bool, data: Path | None, launch: Launch | None) -> Verdict:
    tolerance = team_policy().tolerance
    say("finding the run ...")
    client = connect()
    asked = find_run(client, reference)
    original = read_run(client, outermost(client, asked))
    require_evidence(original)
    problems = list(record_problems(original))
    if problems and not force:
        raise Refused(problems)
    with Interruption() as interruption, tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        interruption.release()
        scratch = Path(folder).resolve()
        # Data at `../shared` must lie in the scratch folder too, apart from the files that this function puts there.
        place = scratch.joinpath(*["in"] * levels_above(str(original.values["data"]["path"])))
        place.mkdir(parents=True, exist_ok=True)
        with checkout(PROJECT_ROOT, original, place) as project, _signals_held_at_the_end(interruption):
            values = recover(original, project, PROJECT_ROOT, data, scratch)
            if values != original.values and not repeats_config(original):
                place, fix = original.values["data"]["path"], "bring the data there; or let data.path be relative"
                refuse("data.path", f"the script of this run takes no config, and reads its data from {place}", fix)
            runs = _run_entry_point(client, interruption, original, values, project, scratch, force, launch)
            reproduction = read_run(client, _select_reproduction(client, runs, original, values))
            differences = list(origin_problems(original, reproduction))
            if differences and not force:
                raise Refused(differences)
            say("comparing ...")
            verdict = _compare(client, asked, original, reproduction, [*problems, *differences], tolerance)
            _record(client, verdict)
            return verdict


def compare_with_last_reproduction(reference: str) -> Verdict:
    """Compare the run that *reference* means with its last reproduction, as both are now; nothing is written.

    For decisions that rely on the verdict. The tags of the verdict are not used, for anybody can write them; only the
    id of the reproduction is read from a tag, and the reproduction must name the run too. Raises Refused when the run
    has no reproduction, and when one of the two was altered.
    """
    client = connect()
    asked = find_run(client, reference)
    original = read_run(client, outermost(client, asked))
    named = original.run.data.tags.get(REPRODUCED_BY)
    fix = f"repro reproduce {asked.info.run_id}"
    if named is None:
        problem = "the run was not reproduced yet; a second training, which the checklist accepts, is not enough here"
        refuse(REPRODUCED_BY, problem, fix)
    reproduction = read_run(client, find_run(client, named))
    if reproduction.run.data.tags.get(REPRODUCES) != original.run.info.run_id or named == original.run.info.run_id:
        refuse(REPRODUCED_BY, f"the tag names {named[:40]!r}, which does not reproduce this run", fix)
    return compare_reproduction(client, asked, original, reproduction)


def compare_reproduction(
    client: "MlflowClient", asked: "Run", original: RecordedRun, reproduction: RecordedRun
) -> Verdict:
    """Compare *original* with *reproduction*, as both are now; nothing is written.

    *asked* is the run of *original*, or a run inside it that alone is judged. Raises Refused when the two come from
    different code, data, packages or config, and when one of them was altered or did not finish.
    """
    for recorded in (original, reproduction):
        require_evidence(recorded)
    problems = [*record_problems(original), *record_problems(reproduction), *origin_problems(original, reproduction)]
    if problems:
        raise Refused(problems)
    return _compare(client, asked, original, reproduction, [], team_policy().tolerance)


def _compare(
    client: "MlflowClient",
    asked: "Run",
    original: RecordedRun,
    reproduction: RecordedRun,
    overridden: Iterable[Violation],
    tolerance: Tolerance,
) -> Verdict:
    """Compare the outputs and inputs of the two runs. *overridden* are the violations that --force overrode."""
    compared = compare_inputs(original, reproduction)
    inputs = tuple(each for each in compared if each.kind != "altered record")  # which is among the violations
    forced = [f"{violation.key}: {violation.problem}" for violation in overridden]
    forced += [str(difference) for difference in inputs if difference.kind == "interpreter"]
    return Verdict(
        asked.info.run_id,
        compare_runs(client, original.run, reproduction.run, tolerance, frozenset(original.manifest["params"])),
        inputs,
        tuple(forced),
        run_page(client.tracking_uri, reproduction.run),
    )


@contextmanager
def _signals_held_at_the_end(interruption: Interruption) -> Iterator[None]:
    try:
        yield
    finally:
        interruption.hold()


def _run_entry_point(
    client: "MlflowClient",
    interruption: Interruption,
    original: RecordedRun,
    values: Mapping[str, Any],
    project: Path,
    scratch: Path,
    force: bool,
    launch: Launch | None,
) -> "list[Run]":
    """Run the recorded entry point of *project* with the config *values*; return the runs that it recorded.

    *scratch* is the folder for the files that the process needs beside the project.
    """
    attempt = uuid4().hex
    variables = contract(attempt, original)
    config = scratch / CONFIG
    config.write_text(to_yaml(values), encoding="utf-8")
    if launch is not None:
        starting = nullcontext(launch(original, project, config, values, variables))
    else:
        starting = _local(original, project, config, scratch / "metadata", variables, force)
    with starting as process:
        say("reproducing the run ...")
        return run_process(client, interruption, attempt, process)


@contextmanager
def _local(
    original: RecordedRun, project: Path, config: Path, metadata: Path, variables: Mapping[str, str | None], force: bool
) -> Iterator[Process]:
    """Give the process on this machine; while the block runs, its environment is kept."""
    python = interpreter(original.manifest["environment"], force=force)
    with locked_environment(original.evidence[LOCK], python, environment_cache()) as python:
        yield local_process(original, python, project, config, metadata, variables)


def _select_reproduction(
    client: "MlflowClient", runs: "list[Run]", original: RecordedRun, values: Mapping[str, Any]
) -> "Run":
    """Return the one of *runs* that reproduces *original*: the one with the config *values*, else the first.

    A script may record several runs. The others reproduce other runs, so they lose the tag. Raises Refused when the
    reproduction did not finish.
    """
    wanted = config_digest(values)
    run = next((run for run in runs if run.data.tags.get("config_digest") == wanted), runs[0])
    with reachable(client.tracking_uri):
        for other in runs:
            if other is not run:
                client.delete_tag(other.info.run_id, REPRODUCES)
    if run.info.status != "FINISHED":
        why = run.data.tags.get(FAILURE_TAG, "no reason was recorded")
        problem = f"its reproduction, run {run.info.run_id}, ended {run.info.status}: {why}"
        fix = "look for something that the run needs and that nothing records; the output of the run stands above"
        refuse(f"run {original.run.info.run_id}", problem, fix)
    return run


def _record(client: "MlflowClient", verdict: Verdict) -> None:
    """Write the verdict as tags of each pair of runs. The tags of the outermost pair cover all runs inside."""
    forced = " (forced)" if verdict.forced else ""
    verdicts: dict[str, dict[str, str]] = {}
    with reachable(client.tracking_uri):
        for number, pair in enumerate(verdict.pairs):
            findings = [each for other in (verdict.pairs if number == 0 else [pair]) for each in other.findings]
            outcome = worst(finding.outcome for finding in findings).value + forced
            note = _note(findings, verdict)
            if pair.b is not None and pair.a is not None:
                tags = {REPRODUCES: pair.a, REPRODUCES_VERDICT: outcome, REPRODUCES_NOTE: note}
                _set_tags(client, pair.b, tags)
            elif pair.b is not None:
                client.delete_tag(pair.b, REPRODUCES)
            if pair.a is not None:
                tags = {REPRODUCED_BY: pair.b or "none", REPRODUCED_VERDICT: outcome, REPRODUCED_NOTE: note}
                verdicts[pair.a] = tags
    try:
        with reachable(client.tracking_uri):
            for run_id, tags in verdicts.items():
                _set_tags(client, run_id, tags)
    except Refused as refused:
        # On a server with logins only those whom `policy.provers` names give a verdict that counts.
        why = refused.violations[0].problem
        click.echo(f"the verdict is a tag of the reproduction alone: {why}", err=True)


def _note(findings: Iterable[Finding], verdict: Verdict) -> str:
    """Return what differs first, what was forced, and the inputs that differ, in one line for a tag."""
    findings = list(findings)
    differing = first_difference(findings) or first_difference(findings, Outcome.WITHIN)
    parts = [str(each) for each in (differing, *verdict.forced, *verdict.input_differences) if each is not None]
    return recordable("; ".join(parts) or "nothing differs")


def _set_tags(client: "MlflowClient", run_id: str, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        client.set_tag(run_id, key, value)
