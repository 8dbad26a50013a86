"""The stat cache: remembers the digest of a file for as long as nothing about the file has moved."""

import json
import os
import tempfile
import time
from pathlib import Path

from blake3 import blake3

_FORMAT = 2
_SETTLED_NS = 2_000_000_000  # the coarsest clock of a file system: a later edit could leave the same time behind


class StatCache:
    """Digests kept in *file*, or nowhere if that is None.

    A digest comes back only for the same name, size, inode, device, and times of change to the nanosecond. A file that
    changed within two seconds before the cache was opened is never kept. A damaged or foreign cache file counts as an
    empty one, and one that cannot be written is left alone: the cache may cost time, never truth.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._opened_ns = time.time_ns()
        self._old = _load(file) if file else {}
        self._new: dict[str, str] = {}

    def get(self, name: str, place: str) -> tuple[int, str] | None:
        """Return size and digest put under *name* if the file at *place* still looks exactly as it did then."""
        entry = self._old.get(name)
        if entry is None:
            return None
        seen = os.stat(place)
        if entry[:-64] != _look(seen):
            return None
        self._new[name] = entry
        return seen.st_size, entry[-64:]

    def put(self, name: str, seen: os.stat_result, digest: str) -> None:
        """Keep the *digest* of bytes read while the file looked like *seen*, unless it changed only just now."""
        # st_ctime moves even when someone sets st_mtime back
        if self._file and max(seen.st_mtime_ns, seen.st_ctime_ns) + _SETTLED_NS <= self._opened_ns:
            self._new[name] = _look(seen) + digest

    def save(self) -> None:
        """Replace the cache file, in one step, by what was got and put; other processes see the old or the new one."""
        if self._file is None or self._new == self._old:
            return
        body = json.dumps({"format": _FORMAT, "files": self._new}, separators=(",", ":")).encode()
        temporary = None
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=f"{self._file.name}.", dir=self._file.parent)
            with open(descriptor, "wb") as stream:
                stream.write(_seal(body) + body)
            os.replace(temporary, self._file)
        except OSError:
            if temporary:
                Path(temporary).unlink(missing_ok=True)


def _look(seen: os.stat_result) -> str:
    # one text, not a list of numbers: a folder of many files is read back in half the time
    return f"{seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns} {seen.st_ino} {seen.st_dev} "


def _seal(body: bytes) -> bytes:
    return blake3(body).digest()


def _load(file: Path) -> dict[str, str]:
    try:
        content = file.read_bytes()
    except OSError:
        return {}
    seal, body = content[:32], content[32:]
    if seal != _seal(body):
        return {}
    cached = json.loads(body)
    return cached["files"] if cached["format"] == _FORMAT else {}
