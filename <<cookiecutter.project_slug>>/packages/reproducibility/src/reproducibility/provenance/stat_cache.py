"""The stat cache: the digests of data files, found again without reading the files while their stat is the same."""

import json
import marshal
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from blake3 import blake3

_FORMAT = 4  # 2 held pointers too, 3 had no version of the whole
_SETTLED_NS = 2_000_000_000  # the coarsest clock of a file system: two edits within it may leave the same time
_BYTES = 32  # of a digest
_UNKNOWN = bytes(2 * _BYTES)  # in the place of listing and version


class StatCache:
    """Digests of data files, kept in *file*, or nowhere if that is None.

    A digest is found again only for the same name, size, inode, device, and times of change to the nanosecond. The
    digest of a file that changed within two seconds before the cache was opened is never kept. A damaged or foreign
    cache file counts as empty, and one that cannot be written is left alone: the cache never gives a wrong digest.

    The file has a seal, a digest of the listing of all files with their stat, the version of the data, and the entries.
    While the listing is the same, the version is the answer, and no entry is decoded.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._opened_ns = time.time_ns()
        self._content = _content(file) if file else b""
        self._new: dict[str, str] = {}

    @cached_property
    def entries(self) -> dict[str, str]:
        """The entries that the file had: {name: stat and digest}."""
        return json.loads(self._content[2 * _BYTES :]) if self._content else {}

    def version(self, listing: Iterable[tuple[str, str]]) -> str | None:
        """Return the version in 64 hex of the files of *listing*, (name, place), if none has changed; else None."""
        kept, version = self._content[:_BYTES], self._content[_BYTES : 2 * _BYTES]
        if not any(kept):
            return None
        names, stats = [], []
        for name, place in listing:
            seen = os.stat(place)
            names.append(name)
            stats += (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino, seen.st_dev)
        return version.hex() if _digest_of(names, stats) == kept else None

    def known(self) -> Iterator[tuple[str, int, str]]:
        """Yield name, size and digest of every file of the cache, sorted by name."""
        for name, entry in sorted(self.entries.items()):
            yield name, int(entry.partition(" ")[0]), entry[-64:]

    def get(self, name: str, place: str) -> tuple[int, str] | None:
        """Return the size and digest kept for *name* if the file at *place* has not changed since; else None."""
        entry = self.entries.get(name)
        if entry is None:
            return None
        seen = os.stat(place)
        if entry[:-64] != _stat_text(seen):
            return None
        self._new[name] = entry
        return seen.st_size, entry[-64:]

    def put(self, name: str, seen: os.stat_result, digest: str) -> None:
        """Keep the *digest* of the file *name*, read in the state *seen*, unless the file changed only just now."""
        # st_ctime moves even when somebody sets st_mtime back.
        if self._file and max(seen.st_mtime_ns, seen.st_ctime_ns) + _SETTLED_NS <= self._opened_ns:
            self._new[name] = _stat_text(seen) + digest

    def save(self, names: list[str], version: str) -> None:
        """Write the entries that were found or added, in one step: other processes see the old file or the new one.

        *names* are those of all files, in the order in which the system lists them; *version*, in 64 hex, is theirs.
        """
        if self._file is None:
            return
        whole = _UNKNOWN
        if len(names) == len(self._new):
            stats = [int(number) for name in names for number in self._new[name][:-64].split()]
            whole = _digest_of(names, stats) + bytes.fromhex(version)
        content = whole + json.dumps(self._new, separators=(",", ":")).encode()
        if content == self._content:
            return
        temporary = None
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=f"{self._file.name}.", dir=self._file.parent)
            with open(descriptor, "wb") as stream:
                stream.write(_seal(content) + content)
            os.replace(temporary, self._file)
        except OSError:
            if temporary:
                Path(temporary).unlink(missing_ok=True)


def _stat_text(seen: os.stat_result) -> str:
    # One text, not a list of numbers: the cache of a folder of many files is read in half the time.
    return f"{seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns} {seen.st_ino} {seen.st_dev} "


def _digest_of(names: list[str], stats: list[int]) -> bytes:
    """Return the digest of a listing: the *names*, and five numbers of the stat of each."""
    # marshal: one call for a million numbers. Version 2 writes equal lists as equal bytes.
    return blake3(marshal.dumps([len(names), *stats], 2) + "\0".join(names).encode("utf-8", "surrogateescape")).digest()


def _seal(content: bytes) -> bytes:
    # The format belongs to what is sealed: the seal of another one never fits.
    return blake3(b"%d" % _FORMAT + content).digest()


def _content(file: Path) -> bytes:
    """Return what the cache *file* holds behind its seal; nothing if the seal does not fit."""
    try:
        sealed = file.read_bytes()
    except OSError:
        return b""
    seal, content = sealed[:_BYTES], sealed[_BYTES:]
    return content if seal == _seal(content) else b""
