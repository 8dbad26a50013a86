"""The thread that ships the journals of this process's runs, and the lines that a person sees of it.

One thread ships all runs of the process while they go on. It is a daemon: what it has not shipped when the process ends
is in the journals, for `repro sync`.
"""

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from ..display import shown_path
from ..errors import refuse
from ..secrets import recordable
from .journal import Journal
from .progress import progress_bar
from .server import Away, RefusedByServer
from .shipping import deliver, ship

_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0  # between two passes; a power cut loses what was said since the last one
_AT_EXIT_S = 5.0
READ_PATIENCE_S = 5.0  # seconds without progress after which a read goes on without the server

_lock = threading.Lock()
_journals: dict[str, Journal] = {}
_left: set[str] = set()  # the runs that ended while their server was away
_away: dict[str, float] = {}  # {address of a server: when it last did not answer}
_said: set[str] = set()
_thread: threading.Thread | None = None


def _never() -> bool:
    return False


_gives_up: Callable[[], bool] = _never


def add(journal: Journal) -> None:
    """Ship *journal* from now on."""
    global _thread
    with _lock:
        _journals[journal.run_id] = journal
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_ship_for_ever, name="reproducibility-shipper", daemon=True)
            _thread.start()


def drop(journal: Journal) -> None:
    """Ship *journal* no more: the server has it."""
    with _lock:
        _journals.pop(journal.run_id, None)
        _left.discard(journal.run_id)


def settle_later(journal: Journal) -> None:
    """Leave the end of a run to the thread, to the next run of this machine and to `repro sync`."""
    with _lock:
        _left.add(journal.run_id)
    add(journal)


def leave(journal: Journal) -> None:
    """Leave the end of a run, as `settle_later` does, and say so."""
    if journal.header.experiment is None:
        settle_later(journal)
    click.echo(waiting_line(journal), err=True)


def waiting_line(journal: Journal) -> str:
    """Return the sentence about a run that is complete on this machine and not on the server."""
    return (
        f"run {journal.run_id} is recorded here, {journal.waiting()} entries wait for {journal.header.uri}: repro sync"
    )


def is_away(journal: Journal) -> bool:
    """Whether the server of *journal* did not answer a moment ago."""
    return time.monotonic() - _away.get(journal.header.uri, -_LONGEST_PAUSE_S) < _LONGEST_PAUSE_S


def note(journal: Journal, error: Exception) -> None:
    """Say once that the server of *journal* is away, or that it refused something."""
    uri = journal.header.uri
    if isinstance(error, Away):
        with _lock:
            is_new = uri not in _away
            _away[uri] = time.monotonic()
        text = f"the tracking server {uri} is away ({error}); the run goes on, and what it says is kept on this machine"
    else:
        text = f"run {journal.run_id}: {recordable(error)}"
        with _lock:
            is_new = text not in _said
            _said.add(text)
    if is_new:
        click.echo(text, err=True)


def is_shipped(journal: Journal) -> bool:
    """Ship what *journal* holds; return whether the server has all of it. Raises Refused if it refused a part of it."""
    if journal.header.experiment is not None or is_away(journal):
        return False
    try:
        deliver(journal, READ_PATIENCE_S)
    except (Away, RefusedByServer) as error:
        note(journal, error)
        return False
    if refusals := journal.refusals():
        refuse_run(journal, f"the server refused something that the run logged: {refusals[0]}")
    return True


def refuse_run(journal: Journal, problem: str) -> NoReturn:
    """Raise Refused because of what the run logged."""
    fix = f"correct what the run logs; {shown_path(journal.kept_refusals)} has what was refused when the run has ended"
    refuse(f"run {journal.run_id}", problem, fix)


def _note_answer(journal: Journal) -> None:
    with _lock:
        was_away = _away.pop(journal.header.uri, None) is not None
    if was_away:
        click.echo(f"the tracking server {journal.header.uri} is back", err=True)


def _ship_for_ever() -> None:
    pause = _PAUSE_S
    while True:
        time.sleep(pause)
        pause = _PAUSE_S if not _away else min(2 * pause, _LONGEST_PAUSE_S)
        for journal in list(_journals.values()):
            try:
                journal.flush()
                if ship(journal, end=journal.run_id in _left):
                    _note_answer(journal)
            except Away as error:
                note(journal, error)
            except RefusedByServer as error:  # of the end of a run that was left: the server has made the run FAILED
                note(journal, error)
                drop(journal)
            except Exception as error:  # the thread must not end: what it leaves behind is told at the end of the run
                note(journal, error)
            if not journal.exists:
                if journal.run_id in _left:
                    click.echo(f"run {journal.run_id} is recorded at {journal.header.uri} now", err=True)
                drop(journal)


@contextmanager
def giving_up(condition: Callable[[], bool]) -> Iterator[None]:
    """Inside, the end of a run waits no longer for its server once *condition* holds, such as after Ctrl-C."""
    global _gives_up
    before, _gives_up = _gives_up, condition
    try:
        yield
    finally:
        _gives_up = before


def deliver_with_bar(journal: Journal, patience_s: float) -> None:
    """Ship *journal* with the end of its run, and show a progress bar on a terminal; raises as `shipping.deliver`."""
    is_said = False

    def gives_up() -> bool:
        nonlocal is_said
        if not is_said and patience_s > _AT_EXIT_S:
            is_said = True
            text = f"waiting {patience_s:.0f} s for {journal.header.uri}; Ctrl-C leaves the rest to `repro sync`"
            click.echo(text, err=True)
        return _gives_up()

    with progress_bar(journal.bytes_waiting(), "recording the last entries") as progress:
        deliver(journal, patience_s, end=True, progress=progress, gives_up=gives_up)
    _note_answer(journal)


def _release() -> None:
    """Before the process exits: ship what was said in runs that it leaves open, so that another process can go on."""
    mlflow = sys.modules.get("mlflow")
    while mlflow is not None and mlflow.active_run() is not None:  # as MLflow does itself, a moment later
        mlflow.end_run()
    for journal in [journal for run_id, journal in _journals.items() if run_id not in _left]:
        try:
            deliver(journal, _AT_EXIT_S)
            journal.remove()
        except Exception:  # whatever it is, it is told when somebody ships the run
            journal.update(is_released=True)
            click.echo(waiting_line(journal), err=True)


def _forget() -> None:
    """In a forked process: the runs and the thread are those of the process that forked."""
    global _lock, _thread
    _lock, _thread = threading.Lock(), None
    _journals.clear()
    _left.clear()
    _away.clear()


atexit.register(_release)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
