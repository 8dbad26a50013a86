"""The runs whose blocks are open: how the threads of a process and the processes that it starts find them.

MLflow keeps the active run of each thread. A new thread has none, and a new process has none either. So this module
keeps the open runs of the process in a list for its threads, and in a small file for the processes that it starts. The
variable REPRODUCIBILITY_OPEN_RUNS names the file. The variable is set before there is an open run, because a pool of
processes may have been started by then.
"""

import json
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex

from ..process import is_running, this_process

_VARIABLE = "REPRODUCIBILITY_OPEN_RUNS"
_PREFIX = "reproducibility-open-runs-"


@dataclass(frozen=True)
class OpenRun:
    """A run whose block is open. tags: its provenance. around: the id of the run whose block is around this one."""

    run_id: str
    experiment_id: str
    tags: Mapping[str, str]
    around: str | None
    thread: int


class _OpenRuns:
    """The open runs of one process. A forked process gets a copy of this object, and the copy is of no use there."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.runs: list[OpenRun] = []
        self.unplaced: set[str] = set()
        # The name cannot be guessed: the folder for temporary files is open to every user of the machine.
        self.file = Path(tempfile.gettempdir(), f"{_PREFIX}{token_hex(16)}.json")

    def add(self, run: OpenRun) -> None:
        with self.lock:
            if not self.runs:
                _remove_leftovers(self.file.parent)
            self.runs.append(run)
            self._write()

    def remove(self, run: OpenRun) -> None:
        with self.lock:
            self.runs.remove(run)
            self._write()

    def _write(self) -> None:
        # Threads do without the file. Where it cannot be written, processes name their run with `run_id=`.
        with suppress(OSError):
            if not self.runs:
                self.file.unlink(missing_ok=True)
                return
            descriptor, temporary = tempfile.mkstemp(prefix=f"{self.file.stem}.", dir=self.file.parent)
            with open(descriptor, "w", encoding="utf-8") as stream:
                json.dump({"process": this_process(), "runs": [asdict(run) for run in self.runs]}, stream)
            os.replace(temporary, self.file)


def _remove_leftovers(folder: Path) -> None:
    """Delete the files of processes that were killed while a run was open."""
    for file in folder.glob(f"{_PREFIX}*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            if is_running(json.loads(file.read_text("utf-8"))["process"]) is False:
                file.unlink()


_own = _OpenRuns()
os.environ.setdefault(_VARIABLE, str(_own.file))
# The innermost open run of the code that runs now. asyncio gives a task the value of the code that created the task.
_innermost: ContextVar[OpenRun | None] = ContextVar("innermost", default=None)


@contextmanager
def opened(run_id: str, experiment_id: str, tags: Mapping[str, str]) -> Iterator[None]:
    """Inside, the run is open: what threads and processes log goes into it, and the runs that they begin belong to it.

    Only the process that enters the block opens and closes the run; in a forked process the end does nothing.
    """
    around = innermost_of_thread()
    run = OpenRun(run_id, experiment_id, tags, around.run_id if around else None, threading.get_ident())
    owner = _this_process()
    os.environ[_VARIABLE] = str(owner.file)
    owner.add(run)
    before = _innermost.get()
    _innermost.set(run)
    try:
        yield
    finally:
        if owner.process == os.getpid():
            owner.remove(run)
            # Not reset by a token: a task may leave the block that another task entered.
            _innermost.set(before)


def open_runs() -> tuple[OpenRun, ...]:
    """Return the run that the code which runs now is part of: none, one, or all that come into question.

    In a thread or process that entered no block, this is the innermost open run of the process, or of the process that
    started this one. More than one comes into question where several blocks are open beside each other.
    """
    runs = _runs()
    mine = _innermost.get()
    if mine in runs:
        return (mine,)
    around = {run.around for run in runs}
    return tuple(run for run in runs if run.run_id not in around)


def innermost_of_thread() -> OpenRun | None:
    """Return the open run whose block this thread entered last; None if this thread has no open block."""
    if _own.process != os.getpid():
        return None
    return next((run for run in reversed(_own.runs) if run.thread == threading.get_ident()), None)


def is_in_view(run: OpenRun) -> bool:
    """Whether the code that runs now is inside the block of *run*. Another asyncio task of the thread is not."""
    return _innermost.get() == run


def note_unplaced(runs: tuple[OpenRun, ...]) -> None:
    """Note that something was logged which belongs to one of *runs*, and nobody knows to which."""
    _own.unplaced |= {run.run_id for run in runs}


def has_unplaced(run_id: str) -> bool:
    """Whether something was logged that may belong to the open run *run_id*, and was refused."""
    return run_id in _own.unplaced


def _this_process() -> _OpenRuns:
    """Return the list of this process, which is a new one in a forked process."""
    global _own
    if _own.process != os.getpid():
        _own = _OpenRuns()
    return _own


def _runs() -> list[OpenRun]:
    """Return the open runs of this process, else those of the process that started it."""
    own = _this_process()
    if own.runs:
        return list(own.runs)
    file = os.environ.get(_VARIABLE)
    if file is None or file == str(own.file):
        return []
    try:
        return [OpenRun(**each) for each in json.loads(Path(file).read_text("utf-8"))["runs"]]
    except (OSError, ValueError, KeyError, TypeError):  # no run is open there, or the file is from another version
        return []
