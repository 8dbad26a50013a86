"""The audit of a tracking store: which of its runs can be reproduced, which cannot and why, and which died."""

from collections import Counter
from collections.abc import Iterator, Sequence, Sized
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from ..delivery.sync import waiting_runs
from ..display import counted, emit
from ..errors import Refused, Unreadable, Violation, refuse
from ..policy import Policy
from ..process import is_running
from ..project import team_policy
from ..reproduce.promote import promotion_problems
from ..rules import CLOSED, is_protected, why_not_its_model
from ..secrets import without_credentials
from ..tags import FAILURE_TAG, PROCESS_TAG
from ..tracking.recorded import find_run, model_outputs, pages, read_run, readable
from ..tracking.store import connect, reachable
from ..tracking.validation import judge
from .weeks import Week, week_of, weeks
from .weeks import draw as draw_weeks

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run
    from rich.console import Console


Class = Literal["complies", "does not comply", "ended without a result", "running", "waiting", "died", "unknown"]
_DEATH = "its process was killed, or the machine went down; closed by `repro audit --close-dead`"
_ELSEWHERE = "running on another machine, or recorded without the name of its process"
_PAGE = 250  # runs in memory at a time
# In the order of urgency; runs that comply are only counted.
_LISTED: tuple[Class, ...] = ("died", "does not comply", "unknown", "waiting", "running", "ended without a result")
_PLURALS = {"complies": "comply", "does not comply": "do not comply"}


@dataclass(frozen=True)
class Audited:
    """One run: its class, and why, in the words of the checks that fail. week: in which it began, as ``2026-W48``."""

    run_id: str
    experiment: str
    author: str
    week: str
    status: str
    verdict: Class
    problems: tuple[str, ...]


@dataclass(frozen=True)
class AuditedAlias:
    """A protected alias of a registered model: the version that it points to, and why nobody can rely on that one."""

    model: str
    alias: str
    version: str
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """The runs of a store, newest first, and the protected aliases of its models.

    The audit passes if every finished run complies, no run died and every alias can be relied on. exit_status: 0 if
    the audit passes, 1 if it fails, 2 if nothing fails and the class of a run is unknown. waiting: the ids of the runs
    that this machine has and the store does not have whole.
    """

    place: str
    runs: tuple[Audited, ...]
    aliases: tuple[AuditedAlias, ...]
    waiting: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return self.exit_status == 0

    @property
    def weeks(self) -> tuple[Week, ...]:
        """The finished runs of each week, and how many of them comply."""
        judged = {"complies": True, "does not comply": False}
        return weeks((run.week, judged[run.verdict]) for run in self.runs if run.verdict in judged)

    @property
    def exit_status(self) -> int:
        verdicts = {run.verdict for run in self.runs}
        if verdicts & {"does not comply", "died"} or any(alias.problems for alias in self.aliases):
            return 1
        return 2 if "unknown" in verdicts else 0


def audit(experiment: str | None = None, *, close_dead: bool = False) -> Audit:
    """Check every run of *experiment*, or of the whole store and its models, against the policy of configs/base.yaml.

    With *close_dead*, runs whose process is gone from this machine end KILLED, with the reason in the tag ``failure``.
    Raises Refused when there is no such experiment, StoreUnavailable when the store is unreachable.
    """
    policy = team_policy()
    client = connect()
    place = without_credentials(client.tracking_uri)
    waiting = tuple(run.run_id for run in waiting_runs() if run.uri == place)
    runs = counted(_runs(client, experiment), "checking the runs")
    audited = [_audited(client, *each, policy, waiting, close_dead) for each in runs]
    aliases = () if experiment else tuple(_aliases(client, policy))
    # By id: a run that begins while the audit reads the pages of the store shows the last run of a page again.
    return Audit(place, tuple({run.run_id: run for run in audited}.values()), aliases, waiting)


def _aliases(client: "MlflowClient", policy: Policy) -> Iterator[AuditedAlias]:
    with reachable(client.tracking_uri):
        models = list(pages(client.search_registered_models))
    for model in models:
        for alias, version in sorted(model.aliases.items()):
            if is_protected(alias, policy):
                problems = tuple(map(str, _version_problems(client, model.name, str(version))))
                yield AuditedAlias(model.name, alias, str(version), problems)


def _version_problems(client: "MlflowClient", model: str, number: str) -> list[Violation]:
    """Return why nobody can rely on the version *number* of *model*."""
    key = f"version {number} of {model}"
    try:
        with reachable(client.tracking_uri):
            version = client.get_model_version(model, number)
            try:
                run = find_run(client, version.run_id or "none")
            except Refused:
                return [Violation(key, "the run that logged it does not exist", "promote a run that does")]
            with readable(client, run, "its model"):
                models = [client.get_logged_model(output.model_id) for output in model_outputs(run)]
            place = client.get_model_version_download_uri(model, number)
            if problem := why_not_its_model(place, models, run.info.run_id):
                return [Violation(key, problem, "promote that run")]
        return promotion_problems(client, run)[0]
    except Unreadable as unreadable:
        return [*unreadable.violations]


def _runs(client: "MlflowClient", experiment: str | None) -> "Iterator[tuple[Experiment, Run]]":
    """Yield every run, with its experiment; no more than one page of runs is in memory."""
    with reachable(client.tracking_uri):
        experiments = list(pages(client.search_experiments))
        if experiment is not None and (only := client.get_experiment_by_name(experiment)) is None:
            names = ", ".join(sorted(each.name for each in experiments)[:10])
            refuse("experiment", f"there is no {experiment!r}", f"take one of these: {names}")
        for each in experiments if experiment is None else [only]:
            options = {"experiment_ids": [each.experiment_id], "max_results": _PAGE}
            yield from ((each, run) for run in pages(client.search_runs, **options))


def _audited(
    client: "MlflowClient",
    experiment: "Experiment",
    run: "Run",
    policy: Policy,
    waiting: Sequence[str],
    close_dead: bool,
) -> Audited:
    tags, status = run.data.tags, run.info.status
    verdict, problems = _by_status(tags, status, run.info.run_id in waiting)
    if verdict == "died" and close_dead:
        return _audited(client, experiment, _closed(client, run), policy, waiting, False)
    if verdict == "complies":
        try:
            validation = judge(client, read_run(client, run, experiment), policy)
        except Unreadable as unreadable:
            verdict, problems = "unknown", tuple(map(str, unreadable.violations))
        else:
            problems = tuple(f"{check.name}: {check.detail}" for check in validation.checks if not check.holds)
            verdict = "does not comply" if problems else "complies"
    week = week_of(run.info.start_time)
    return Audited(run.info.run_id, experiment.name, tags.get("author", ""), week, status, verdict, problems)


def _closed(client: "MlflowClient", run: "Run") -> "Run":
    """End *run*, whose process is gone; return the run as it is afterwards, even if it ended by itself meanwhile."""
    run_id = run.info.run_id
    with reachable(client.tracking_uri):
        try:
            with reachable(client.tracking_uri):
                client.set_tag(run_id, FAILURE_TAG, _DEATH)
                client.set_terminated(run_id, "KILLED")
        except Refused:  # the run has ended, and the gate accepts no changes
            pass
        return client.get_run(run_id)


def _by_status(tags: dict[str, str], status: str, waits: bool) -> tuple[Class, tuple[str, ...]]:
    """Return the class of a run as far as its status shows it, and why; a FINISHED run is still to be validated.

    waits: a part of the run is on this machine only.
    """
    if status == "FINISHED":
        return "complies", ()
    if status in CLOSED:
        return "ended without a result", (tags.get(FAILURE_TAG, f"ended {status}"),)
    alive = is_running(tags.get(PROCESS_TAG, ""))
    if waits and not alive:
        return "waiting", ("a part of it is on this machine only: `repro sync` ships it and ends it",)
    if alive is False:
        return "died", ("its process is gone: `repro audit --close-dead` ends it",)
    return "running", (() if alive else (_ELSEWHERE,))


def show_audit(audit: Audit, as_json: bool) -> None:
    """Print *audit*: for people a count of each class, and every run that does not comply with the reason."""
    counts = Counter(run.verdict for run in audit.runs)
    weeks = [asdict(week) for week in audit.weeks]
    data = asdict(audit) | {"counts": counts, "weeks": weeks, "holds": audit.holds}
    emit(as_json, lambda: data, lambda console: _draw(console, audit, counts))


def _draw(console: "Console", audit: Audit, counts: Counter[str]) -> None:
    from rich.table import Table

    if shown := [run for verdict in _LISTED for run in audit.runs if run.verdict == verdict]:
        table = Table("run", "what is wrong")
        table.columns[0].no_wrap = True
        for run in shown:
            style = "red" if run.verdict in ("died", "does not comply") else None
            name = f"{run.run_id}\n{run.experiment[:32]}\n{run.author[:32]}".rstrip()
            table.add_row(name, "\n".join([run.verdict, *run.problems]), style=style)
        console.print(table)
    if wrong := [alias for alias in audit.aliases if alias.problems]:
        table = Table("alias", "why nobody can rely on it", style="red")
        for alias in wrong:
            name = f"{alias.alias} of {alias.model}\nversion {alias.version}"
            table.add_row(name, "\n".join(alias.problems))
        console.print(table)
    draw_weeks(console, audit.weeks)
    classes = ", ".join(_counted(verdict, counts[verdict]) for verdict in ("complies", *_LISTED) if counts[verdict])
    console.print(f"{_number(audit.runs, 'run')} in {audit.place}: {classes or 'nothing to check'}.")
    if audit.waiting:
        console.print(f"{_number(audit.waiting, 'run')} of this machine wait for it: repro sync --status")
    if audit.aliases:
        known = _number(audit.aliases, "protected alias")
        console.print(f"{known}, of which {len(audit.aliases) - len(wrong)} can be relied on.")


def _counted(verdict: str, count: int) -> str:
    return f"{count} {_PLURALS.get(verdict, verdict) if count > 1 else verdict}"


def _number(things: Sized, name: str) -> str:
    return f"{len(things)} {name}{('es' if name.endswith('s') else 's') * (len(things) != 1)}"
