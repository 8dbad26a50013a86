"""The data version: one digest for the names and bytes of a data file or folder."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from blake3 import blake3

from ..digest import PREFIX, canonical, digest
from ..display import listed, one_line, shown_path
from ..errors import Refused, Violation, refuse
from ..project import CACHE, PROJECT_ROOT
from .code import inside_image
from .data_files import data_files
from .data_place import require_place
from .pointers import BEGINNINGS, LARGEST, PointerFound, pointer_of, refuse_pointers, require_data_of_dvc
from .stat_cache import StatCache

_KEY = "data_version"
_CHUNK = 8 * 1024 * 1024  # bytes; measured: threads starve on smaller ones, larger ones fall out of the CPU's cache
_WORTH_THREADS = 1024 * 1024  # bytes; starting threads for a smaller file costs more than they save


class DataFile(NamedTuple):
    """One file: posix path relative to the data path (``.`` if that is a file), size in bytes, blake3 in 64 hex."""

    path: str
    size: int
    digest: str


class DataVersion:
    """What the data is: two versions are equal exactly when the files' names and bytes are.

    version: ``blake3:<64 hex>``, the digest of the sorted list of [path, size, digest].
    """

    def __init__(self, version: str, files: Iterable[DataFile]) -> None:
        """*files*, sorted by path, are asked for only when somebody wants to know them."""
        self.version = version
        self._files = files

    @cached_property
    def files(self) -> tuple[DataFile, ...]:
        """The files, sorted by path."""
        return tuple(self._files)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataVersion) and self.version == other.version

    def __hash__(self) -> int:
        return hash(self.version)

    @property
    def size(self) -> int:
        """All files together, in bytes."""
        return sum(file.size for file in self.files)


def data_version(
    path: Path, cache: Path | None = None, *, not_versioned: Sequence[str] = (), pointers: bool = False
) -> DataVersion:
    """Return the data version of the file or folder *path*. Bytes and line ends are never normalised.

    *cache* names a file that lets the next call skip the files that did not change; keep one for each data path. In a
    folder, files and folders whose names match a pattern in *not_versioned* are left out. Symbolic links are followed
    inside the folder.

    Raises Refused when the path does not exist, holds no bytes, cannot be read, changes meanwhile, contains a pipe,
    socket or device, or has a link that leads out of it. Unless *pointers* count as data, also when a file is a pointer
    of Git LFS, git-annex or DVC to data that is elsewhere.
    """
    known = StatCache(cache)
    try:
        listing = list(data_files(path, not_versioned))
        if not pointers:
            require_data_of_dvc(path, listing)
        if (same := known.version(listing)) is not None:
            return DataVersion(f"{PREFIX}{same}", (DataFile(*file) for file in known.known()))
        try:
            files = tuple(_data_file(name, place, known, pointers) for name, place in sorted(listing))
        except PointerFound as first:
            refuse_pointers(path, sorted(listing), first)
    except FileNotFoundError as error:
        _refuse_changed(error.filename)
    except OSError as error:
        problem = f"{shown_path(Path(error.filename))} cannot be read ({error.strerror})"
        refuse(_KEY, problem, "give yourself permission to read it, or repair the disk or mount it is on")
    if not any(file.size for file in files):
        empty = "every file in it is empty" if files else "no file is in it"
        refuse(_KEY, f"{shown_path(path)} holds no data: {empty}", "put the data there")
    version = digest(canonical(files))
    known.save([name for name, _ in listing], version.removeprefix(PREFIX))
    return DataVersion(version, files)


def data_path(values: Mapping[str, Any]) -> str:
    """Return ``data.path`` of the config *values*, relative to the project root or absolute; Refused if missing."""
    data = values.get("data")
    path = data.get("path") if isinstance(data, Mapping) else None
    if not isinstance(path, str) or not path or "\0" in path:
        refuse("data.path", "the config does not say where the data is", "add it to configs/base.yaml")
    return path


def current_data(values: Mapping[str, Any], not_versioned: Sequence[str]) -> DataVersion:
    """Return the version that the data of the config *values* has now; raises Refused as `data_version` does.

    not_versioned: the patterns of the policy, or those of the policy of a recorded run.
    """
    path = data_path(values)
    place = PROJECT_ROOT / path
    if inside_image(PROJECT_ROOT) and not place.exists():
        target = os.path.normpath(place)
        fix = f"mount it there: --mount type=bind,readonly,source=/where/it/is,target={target}"
        refuse(_KEY, f"{path} is not in this container", fix)
    require_place(path, place)
    return data_version(place, data_cache(PROJECT_ROOT, path), not_versioned=not_versioned)


def changes_since(start: DataVersion, values: Mapping[str, Any], not_versioned: Sequence[str]) -> Iterator[Violation]:
    """Yield what is wrong with the data of the config *values* at the end of a run that read the version *start*.

    The files that changed are named.
    """
    try:
        now = current_data(values, not_versioned)
    except Refused as refused:
        yield from refused.violations
        return
    if now.version != start.version:
        path = data_path(values)
        changes = differences(digests(start.files), digests(now.files), path)
        problem = f"the data changed while the run was going on ({'; '.join(changes)})"
        elsewhere = f"outside {one_line(path, 200)}, or under `data_not_versioned` in configs/base.yaml"
        fix = f"run again on data that is at rest. What the training itself writes belongs {elsewhere}"
        yield Violation(_KEY, problem, fix)


def digests(files: Iterable[DataFile]) -> dict[str, str]:
    """Return {path: digest}, for `differences`."""
    return {file.path: file.digest for file in files}


def data_cache(root: Path, path: str) -> Path:
    """Return the file of the project at *root* that keeps the digests of the files at the data path *path*.

    Each path has its own, so that two experiments on different data do not make each other read everything again.
    """
    return root / CACHE.name / f"data_version-{digest(path.encode('utf-8', 'replace'))[7:23]}"


def differences(needed: Mapping[str, str], found: Mapping[str, str], itself: str) -> Iterator[str]:
    """Yield how the files *found* differ from those *needed*, both {path: digest}, one clause for each kind of change.

    *itself* is the name to show for the path ``.``, which is a data path that is one file.
    """
    for word, names in (
        ("changed", [name for name in needed if name in found and needed[name] != found[name]]),
        ("missing", [name for name in needed if name not in found]),
        ("added since", [name for name in found if name not in needed]),
    ):
        if names:
            yield f"{word}: {listed(itself if name == '.' else name for name in names)}"


def _data_file(name: str, place: str, known: StatCache, pointers: bool) -> DataFile:
    if found := known.get(name, place):
        return DataFile(name, *found)
    descriptor = os.open(place, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        before = os.fstat(descriptor)
        size = before.st_size
        # one exact read: a buffered one takes twice as long on a folder of small files
        start = os.read(descriptor, size + 1) if size < _CHUNK else b""
        hasher = blake3(start) if size < _WORTH_THREADS else blake3(start, max_threads=blake3.AUTO)
        if len(start) != size:
            # read, not mapped: a mapped file that shrinks meanwhile kills the process
            buffer = memoryview(bytearray(_CHUNK))
            with FileIO(descriptor, closefd=False) as rest:
                while count := rest.readinto(buffer):
                    hasher.update(buffer[:count])
        after = os.fstat(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, place) from error
    finally:
        os.close(descriptor)
    if size != after.st_size or before.st_mtime_ns != after.st_mtime_ns:
        _refuse_changed(place)
    tool = pointer_of(start) if size <= LARGEST and start.startswith(BEGINNINGS) else None
    if tool and not pointers:
        raise PointerFound(tool, place)
    value = hasher.hexdigest()
    if not tool:  # a pointer in the cache would pass for data
        known.put(name, after, value)
    return DataFile(name, size, value)


def _refuse_changed(place: str) -> NoReturn:
    problem = f"{shown_path(Path(place))} changed while it was read"
    refuse(_KEY, problem, "wait until nothing writes to the data, then start again")
