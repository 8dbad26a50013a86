"""`repro sync`: ships what the journals of this machine hold, and ends the runs whose process was killed."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from ..display import emit
from ..errors import refuse
from ..process import is_running
from ..secrets import recordable
from ..tags import FAILURE_TAG
from .journal import Damaged, Journal, journals, remove_leftovers, root
from .progress import progress_bar

if TYPE_CHECKING:
    from rich.console import Console

# What a waiting run is doing.
RECORDING, ENDED, KILLED, LEFT_OPEN, ELSEWHERE, DAMAGED = (
    "recording",
    "ended",
    "killed",
    "left open",
    "elsewhere",
    "damaged",
)
_MEANING = {
    RECORDING: "its process ships it",
    ENDED: "repro sync ships it",
    KILLED: "repro sync ships it, and ends it as FAILED",
    LEFT_OPEN: "its process did not end it; repro sync ships it",
    ELSEWHERE: "another machine or a container records it; if that is gone: repro sync RUN_ID --dead",
}
# Seconds without progress after which a server counts as unreachable.
_PATIENCE_S = 5.0
_FAILURE = "its process was killed"


@dataclass(frozen=True)
class WaitingRun:
    """A run that this machine has and its server does not have whole.

    entries: how many things it said that the server lacks. last_time: when it last said something, seconds since 1970.
    """

    run_id: str
    uri: str
    state: str
    entries: int
    last_time: float
    detail: str


@dataclass(frozen=True)
class Outcome:
    """What came of one run. exit_status: 0 if the run is settled, 1 if something is wrong with it, 2 if it waits."""

    run_id: str
    uri: str
    result: str
    exit_status: int


def waiting_runs() -> list[WaitingRun]:
    """Return every run that waits on this machine, the oldest first."""
    found = [_waiting(folder.name) for folder in journals()]
    return [run for run in found if run is not None]


def sync(reference: str | None = None, *, dead: bool = False) -> list[Outcome]:
    """Ship what waits, or only the run whose id begins with *reference*, and return what came of each run.

    dead: the process of that run, on another machine or in a container, is gone. Raises Refused if no such run waits.
    """
    found = [run for run in waiting_runs() if run.run_id.startswith(reference or "")]
    if reference is not None and len(found) != 1:
        problem = f"{len(found) or 'no'} runs wait on this machine whose id begins with {reference[:80]!r}"
        refuse("run id", problem, "repro sync --status lists those that wait")
    remove_leftovers()
    return [_sync_alone(run, dead) for run in found]


def ship_leftovers(uri: str) -> None:
    """Ship in the background, once in each process, what earlier processes of this machine left for the server."""
    if root().is_dir() and not _has_begun.is_set():
        _has_begun.set()
        threading.Thread(target=_ship_leftovers, args=[uri], name="reproducibility-leftovers", daemon=True).start()


_has_begun = threading.Event()


def _ship_leftovers(uri: str) -> None:
    with suppress(OSError, ValueError):  # of a journal that another process removes meanwhile
        for run in waiting_runs():
            if run.uri == uri and run.state in (ENDED, KILLED, LEFT_OPEN):
                outcome = _sync_alone(run, dead=False)
                click.echo(f"run {run.run_id}, which was left by an earlier process: {outcome.result}", err=True)


def exit_status(outcomes: Sequence[Outcome]) -> int:
    return max((outcome.exit_status for outcome in outcomes), default=0)


def _waiting(run_id: str) -> WaitingRun | None:
    """Return the run that waits; None if another process has shipped the run meanwhile."""
    try:
        if (journal := Journal.find(run_id)) is None:
            return None
        runs = is_running(journal.header.process)
        if runs:
            state = RECORDING
        elif journal.has_end():
            state = ENDED
        elif journal.header.is_released:
            state = LEFT_OPEN
        else:
            state = ELSEWHERE if runs is None else KILLED
        last = journal.last_time_ms() / 1000
        return WaitingRun(run_id, journal.header.uri, state, journal.waiting(), last, _MEANING[state])
    except FileNotFoundError:
        return None
    except Damaged as damaged:
        return WaitingRun(run_id, "", DAMAGED, 0, 0.0, str(damaged))


def _sync_alone(run: WaitingRun, dead: bool) -> Outcome:
    """Return what came of *run*. Whatever is wrong with one run does not keep the others from being shipped."""
    try:
        return _sync(run, dead)
    except Exception as error:
        return Outcome(run.run_id, run.uri, f"cannot be shipped: {recordable(f'{type(error).__name__}: {error}')}", 1)


def _sync(run: WaitingRun, dead: bool) -> Outcome:
    from .server import Away, RefusedByServer
    from .shipping import deliver

    if run.state == DAMAGED:
        return Outcome(run.run_id, run.uri, f"{run.detail}; nothing behind it is shipped", 1)
    if run.state == RECORDING or (run.state == ELSEWHERE and not dead):
        return Outcome(run.run_id, run.uri, f"skipped: {run.detail}", 0)
    try:
        journal = Journal.take_over(run.run_id)
        if run.state in (KILLED, ELSEWHERE):
            journal.append_last({"log": {"tags": {FAILURE_TAG: _FAILURE}}})
            journal.append_last({"end": {"status": "FAILED", "end_time": int(run.last_time * 1000)}})
        waiting = journal.bytes_waiting()
    except FileNotFoundError:
        return Outcome(run.run_id, run.uri, "shipped by another process meanwhile", 0)
    try:
        with progress_bar(waiting, f"shipping {run.run_id[:8]}") as progress:
            deliver(journal, _PATIENCE_S, end=True, progress=progress)
    except Away as away:
        return Outcome(run.run_id, run.uri, f"waits on: {recordable(away)}", 2)
    except RefusedByServer as refused:
        return Outcome(run.run_id, run.uri, f"refused: {recordable(refused)}", 1)
    except Damaged as damaged:
        return Outcome(run.run_id, run.uri, f"{damaged}; nothing behind it is shipped", 1)
    if run.state == LEFT_OPEN:
        journal.remove()
        return Outcome(run.run_id, run.uri, "shipped; the run is still open", 0)
    return Outcome(
        run.run_id, run.uri, "shipped" if run.state == ENDED else f"shipped, and ended FAILED: {_FAILURE}", 0
    )


def show_waiting(runs: Sequence[WaitingRun], as_json: bool) -> None:
    """Print what waits: a table for people, or one JSON list."""
    emit(as_json, lambda: [asdict(run) for run in runs], lambda console: _draw_waiting(console, runs))


def show_outcomes(outcomes: Sequence[Outcome], as_json: bool) -> None:
    """Print what came of each run: a table for people, or one JSON list."""
    emit(as_json, lambda: [asdict(outcome) for outcome in outcomes], lambda console: _draw_outcomes(console, outcomes))


def _draw_waiting(console: "Console", runs: Sequence[WaitingRun]) -> None:
    from rich.table import Table

    if not runs:
        console.print("No run waits on this machine.")
        return
    table = Table("run", "state", "entries", "last said", "for")
    for column in table.columns[:4]:
        column.no_wrap = True
    table.columns[4].overflow = "fold"
    for run in runs:
        last = time.strftime("%m-%d %H:%M", time.localtime(run.last_time)) if run.last_time else ""
        table.add_row(run.run_id[:8], run.state, str(run.entries), last, run.uri)
    console.print(table)
    for state, detail in dict.fromkeys((run.state, run.detail) for run in runs):
        console.print(f"{state}: {detail}", soft_wrap=True)
    console.print(f"The journals are in {root()}", soft_wrap=True)


def _draw_outcomes(console: "Console", outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        console.print("Nothing waits on this machine.")
    for outcome in outcomes:
        console.print(f"run {outcome.run_id} for {outcome.uri}: {outcome.result}", soft_wrap=True)
