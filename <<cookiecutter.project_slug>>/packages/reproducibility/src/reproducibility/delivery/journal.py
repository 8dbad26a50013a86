"""The journal of a run: everything that the run said, on this machine's disk, until the tracking server has it.

A journal is a folder, named after the run, in .cache/journal of the project:

    run.json            the header: which server the run is for, which process records the run
    run.log             what that process said; one line an entry: crc32, space, JSON
    worker-*.log        what another process of the run said, such as a worker
    files/              copies of the artifacts that are not on the server yet
    shipped.json        how many bytes of each log the server has
    refused.jsonl       the entries that the server refused, and why
    ended               the run has ended: no process adds anything but notes
    reserve             room on the disk for the end of the run, should the disk be full then

Each process appends to a log of its own, with one system call an entry. So no process waits for another one, and a
process that is killed leaves at most one incomplete line at the end of its log.
"""

import errno
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO, Self

from filelock import FileLock

from ..project import CACHE
from .entry import as_line, encode, in_line, size

# Another folder for the journals, such as one that outlives the container or the checkout that a run happens in.
JOURNAL_VARIABLE = "REPRODUCIBILITY_JOURNAL"
_HEADER, _OWN_LOG, _SHIPPED, _REFUSED = "run.json", "run.log", "shipped.json", "refused.jsonl"
_FILES, _RESERVE, _LOCK = "files", "reserve", "shipping.lock"
_REMOVED = "removed-"
_ENDED = "ended"
_RESERVED_BYTES = 32_768
_WRITING_S = 0.02  # in which another process writes an entry that it began to write

# On Windows a file that is opened without O_BINARY gets a carriage return before each line end.
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class Header:
    """What is known about a run from its beginning.

    uri: the server's address, without credentials. process: who records the run, see `process.this_process`.
    is_created: the server has the run. is_gated: the server has the gate, which takes the id that the client chose.
    experiment: the name of the experiment of a run that was begun offline, where the id is not known. is_released: the
    process left the run open when it exited, and another process may go on with the run.
    """

    uri: str
    process: str
    experiment_id: str
    artifact_uri: str
    user_id: str
    start_time: int
    run_name: str
    tags: dict[str, str] = field(default_factory=dict)
    is_created: bool = False
    is_gated: bool = False
    is_released: bool = False
    experiment: str | None = None
    parent: str | None = None
    workspace: str | None = None


class Ended(Exception):
    """The run has ended on this machine: it takes no more entries but notes."""


class Damaged(Exception):
    """A line of a log is not what was written. The message says which line of which file."""


def root() -> Path:
    """Return the folder of all journals, which need not exist.

    Where the project cannot be written, as in a container, this is a folder for temporary files.
    """
    if named := os.environ.get(JOURNAL_VARIABLE):
        return Path(named).absolute()
    place = next(folder for folder in (CACHE, *CACHE.parents) if folder.exists())
    if os.access(place, os.W_OK):
        return CACHE / "journal"
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir(), f"reproducibility-journal-{user}")


class Journal:
    """The journal of one run, open for one process: the process that began the run, or another one of the same run."""

    def __init__(self, folder: Path, header: Header, log: str) -> None:
        self.folder = folder
        self.run_id = folder.name
        self.header = header
        self._log = log
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._is_flushed = True
        self._has_ended = False
        # What this process logged. A param does not change.
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}

    @classmethod
    def create(cls, run_id: str, header: Header) -> Self:
        """Return the journal of a new run. Raises OSError where it cannot be written."""
        folder = root() / run_id
        (folder / _FILES).mkdir(parents=True)
        (folder / _RESERVE).write_bytes(bytes(_RESERVED_BYTES))
        journal = cls(folder, header, _OWN_LOG)
        _replace(folder / _HEADER, encode(asdict(header)))
        return journal

    @classmethod
    def find(cls, run_id: str) -> Self | None:
        """Return the journal of a run that was begun on this machine and has not ended; None if there is none.

        For another process than the one that began the run: the process gets a log of its own.
        """
        folder = root() / run_id
        try:
            header = Header(**json.loads((folder / _HEADER).read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise Damaged(f"{folder / _HEADER} cannot be read ({error})") from None
        return cls(folder, header, f"worker-{os.getpid()}-{token_hex(4)}.log")

    @classmethod
    def take_over(cls, run_id: str) -> Self:
        """Return the journal of a run whose process is gone, for somebody who goes on in the log of that process."""
        folder = root() / run_id
        journal = cls(folder, Header(**json.loads((folder / _HEADER).read_bytes())), _OWN_LOG)
        if (log := folder / _OWN_LOG).exists():
            with open(log, "r+b") as stream:
                stream.truncate(_end_of_lines(stream))
        return journal

    @property
    def is_own(self) -> bool:
        """Whether this object is the one that began the run."""
        return self._log == _OWN_LOG

    @property
    def has_ended(self) -> bool:
        """Whether this process ended the run."""
        return self._has_ended

    @property
    def exists(self) -> bool:
        return (self.folder / _HEADER).exists()

    def update(self, **changes: Any) -> None:
        """Change fields of the header."""
        self.header = replace(self.header, **changes)
        _replace(self.folder / _HEADER, encode(asdict(self.header)))

    def reload(self) -> None:
        """Read the header again: another process may have shipped the beginning of the run."""
        with suppress(FileNotFoundError):
            self.header = Header(**json.loads((self.folder / _HEADER).read_bytes()))

    def append(self, entry: Mapping[str, Any], *, is_note: bool = False) -> None:
        """Write *entry* to the log of this process. When this returns, a kill of the process does not lose the entry.

        is_note: a run that has ended takes it too. Raises Ended, and OSError if the entry cannot be written; the log is
        then as before.
        """
        line = as_line(entry)
        with self._lock:
            if not is_note and (self._has_ended or (not self.is_own and (self.folder / _ENDED).exists())):
                raise Ended
            self._write(line)

    def append_last(self, entry: Mapping[str, Any]) -> None:
        """Write an *entry* that says how the run ends, as `append` does, also to a full disk: it has a reserve."""
        try:
            self.append(entry, is_note=True)
        except OSError:
            (self.folder / _RESERVE).unlink(missing_ok=True)
            self.append(entry, is_note=True)

    def end(self, entry: Mapping[str, Any]) -> None:
        """Write the end of the run. From then on no process of this machine adds anything to the run but notes."""
        with self._lock:
            self._has_ended = True
        with suppress(OSError):  # on a full disk other processes cannot add anything either
            (self.folder / _ENDED).touch()
        time.sleep(_WRITING_S)
        try:
            self.append_last(entry)
        except BaseException:
            self.reopen()
            raise

    def reopen(self) -> None:
        """Go on with a run whose end could not be written or was refused."""
        with self._lock:
            self._has_ended = False
        (self.folder / _ENDED).unlink(missing_ok=True)

    def _write(self, line: bytes) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self.folder / self._log, _APPENDING, 0o600)
        elif os.fstat(self._descriptor).st_nlink == 0:
            why = "the journal of the run was deleted while the run went on"
            raise FileNotFoundError(errno.ENOENT, why, str(self.folder))
        self._is_flushed = False
        written = os.write(self._descriptor, line)
        if written < len(line):
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder / self._log))

    def flush(self) -> None:
        """Let the disk have what this process wrote: from then on a power cut does not lose it either.

        Other threads append meanwhile: a busy disk takes up to a second.
        """
        with self._lock:
            if self._descriptor is None or self._is_flushed:
                return
            descriptor, self._is_flushed = os.dup(self._descriptor), True
        try:
            getattr(os, "fdatasync", os.fsync)(descriptor)
        except OSError:
            self._is_flushed = False
            raise
        finally:
            os.close(descriptor)

    def close(self) -> None:
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def copy(self, file: str | os.PathLike[str]) -> str:
        """Keep a copy of *file* until it is shipped; return the copy's name. Raises OSError if there is no room."""
        name = f"{os.getpid()}-{token_hex(8)}"
        target = self.folder / _FILES / name
        try:
            shutil.copyfile(file, target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return name

    def file(self, name: str) -> Path:
        """Return the copy called *name*."""
        return self.folder / _FILES / name

    def logs(self) -> list[str]:
        """Return the names of the logs: that of the process that began the run first, then those of other processes."""
        workers = sorted(path.name for path in self.folder.glob("worker-*.log"))
        return [*([_OWN_LOG] if (self.folder / _OWN_LOG).exists() else []), *workers]

    def entries(self, log: str, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the entries of *log* behind *offset*, each with the offset of the next one, as far as they go now.

        An incomplete line at the end is being written, or its process was killed: it is not an entry. Raises Damaged at
        a line that was changed after it was written.
        """
        with open(self.folder / log, "rb") as stream:
            end = os.fstat(stream.fileno()).st_size
            stream.seek(offset)
            while offset < end and (line := stream.readline()).endswith(b"\n"):
                offset += len(line)
                if (entry := in_line(line)) is None:
                    where = f"the line that ends at byte {offset}"
                    raise Damaged(f"{self.folder / log} was changed after it was written, in {where}")
                yield entry, offset

    def shipped(self) -> dict[str, int]:
        """Return how many bytes of each log the server has."""
        try:
            return json.loads((self.folder / _SHIPPED).read_bytes())
        except (FileNotFoundError, ValueError):  # ValueError: a power cut left half a note; all of it is sent again
            return {}

    def note_shipped(self, offsets: Mapping[str, int]) -> None:
        # On a full disk the note is left out, and what it is about is sent once more. The reserve is not for this: a
        # run that goes on would use it up.
        with suppress(OSError):
            _replace(self.folder / _SHIPPED, encode(offsets))

    def waiting(self) -> int:
        """Return how many entries the server does not have yet; each point of a metric counts."""
        shipped = self.shipped()
        return sum(size(entry) for log in self.logs() for entry, _ in self.entries(log, shipped.get(log, 0)))

    def bytes_waiting(self) -> int:
        """Return how many bytes of the logs the server does not have yet."""
        shipped = self.shipped()
        return sum((self.folder / log).stat().st_size - shipped.get(log, 0) for log in self.logs())

    def has_end(self) -> bool:
        """Whether the process that began the run ended the run."""
        if not (self.folder / _OWN_LOG).exists():
            return False
        return any("end" in entry for entry, _ in self.entries(_OWN_LOG, self.shipped().get(_OWN_LOG, 0)))

    def refuse(self, entry: Mapping[str, Any], why: str) -> None:
        """Note that the server refused *entry*. A file is kept."""
        if "file" in entry:
            why = f"{entry['to']}: {why}"
            kept = self.kept_refusals.with_suffix("") / Path(entry["to"]).name
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.file(entry["file"]), kept)
        with open(self.folder / _REFUSED, "a", encoding="ascii") as stream:
            stream.write(encode({"why": why, "entry": entry}) + "\n")

    def refusals(self) -> list[str]:
        """Return why the server refused entries, in their order; also after the journal was removed."""
        kept = self.kept_refusals
        try:
            text = (kept if kept.exists() else self.folder / _REFUSED).read_text("ascii")
        except FileNotFoundError:
            return []
        return [json.loads(line)["why"] for line in text.splitlines()]

    @property
    def kept_refusals(self) -> Path:
        """Where the refused entries are kept when the run has ended."""
        return root() / "refused" / f"{self.run_id}.jsonl"

    @contextmanager
    def shipping(self, timeout_s: float) -> Iterator[None]:
        """Inside, no other process or thread ships this journal. Raises filelock.Timeout."""
        with FileLock(self.folder / _LOCK, timeout=timeout_s):
            yield

    def remove(self) -> None:
        """Delete the journal: the server has all of it. What the server refused is kept beside the journals."""
        self.close()
        refused = self.folder / _REFUSED
        if refused.exists():
            self.kept_refusals.parent.mkdir(parents=True, exist_ok=True)
            os.replace(refused, self.kept_refusals)
        # At once, so that a process that is killed here leaves no half of a journal.
        removed = self.folder.with_name(f"{_REMOVED}{self.run_id}")
        try:
            os.replace(self.folder, removed)
        except FileNotFoundError:
            pass
        except PermissionError:  # Windows renames no folder in which a file is open, such as the lock of `shipping`
            (self.folder / _HEADER).unlink(missing_ok=True)  # without a header it is no journal any more
            removed = self.folder
        shutil.rmtree(removed, ignore_errors=True)

    def last_time_ms(self) -> int:
        """Return when something was last written into the journal, in milliseconds since 1970."""
        times = [(self.folder / name).stat().st_mtime for name in (_HEADER, *self.logs())]
        return int(max(times) * 1000)


def remove_leftovers() -> None:
    """Delete what is left of journals that were not removed whole: a process was killed, or Windows kept a file."""
    without_header = (lock.parent for lock in root().glob(f"*/{_LOCK}") if not (lock.parent / _HEADER).exists())
    for folder in (*root().glob(f"{_REMOVED}*"), *without_header):
        shutil.rmtree(folder, ignore_errors=True)


def journals() -> Iterator[Path]:
    """Yield the folder of each journal on this machine, the oldest first."""
    found = []
    for header in root().glob(f"*/{_HEADER}"):
        with suppress(FileNotFoundError):  # another process ships its run meanwhile
            found.append((header.stat().st_mtime, header.parent))
    yield from (folder for _, folder in sorted(found) if not folder.name.startswith(_REMOVED))


def journals_inside(run_id: str) -> Iterator[Journal]:
    """Yield the journal of each run inside the run *run_id*. One that is damaged is not known to be inside any run."""
    for folder in journals():
        with suppress(Damaged):
            journal = Journal.find(folder.name)
            if journal is not None and journal.header.parent == run_id:
                yield journal


def _end_of_lines(stream: BinaryIO) -> int:
    end = 0
    for line in stream:
        if line.endswith(b"\n"):
            end += len(line)
    return end


def _replace(path: Path, text: str) -> None:
    """Write *text* to *path* at once: a reader, also one after a crash, sees the text before or this one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        temporary.write_text(text, "ascii")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
