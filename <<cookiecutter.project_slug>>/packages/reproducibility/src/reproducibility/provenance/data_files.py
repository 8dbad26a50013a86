"""The files of the data: which they are, and where on the disk each of them is."""

import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from fnmatch import translate
from pathlib import Path

from ..display import shown_path
from ..errors import refuse
from .data_place import require_place
from .pointers import refuse_broken_link, refuse_link_out

_KEY = "data_version"


def data_files(path: Path, not_versioned: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """Yield the name of each file of the data *path*, ``.`` if that is a file, and its place on the disk, in any order.

    not_versioned: patterns of the names, in a folder, of files and folders to leave out.

    Raises Refused when nothing is there, for a link that leads out of a folder, and for what is no plain file.
    """
    require_place(str(path), path)
    top = os.path.realpath(path, strict=True)
    if os.path.isdir(top):
        yield from _files_in_folder(top, re.compile("|".join(map(translate, not_versioned))) if not_versioned else None)
    else:
        _require_plain_file(top)
        yield ".", top


def _files_in_folder(top: str, left_out: re.Pattern[str] | None) -> Iterator[tuple[str, str]]:
    pending: list[tuple[str, str, tuple[str, ...]]] = [("", top, ())]
    while pending:
        prefix, folder, above = pending.pop()
        above = (*above, folder)
        with os.scandir(folder) as entries:
            for entry in entries:
                name = prefix + entry.name
                if left_out and left_out.match(name):
                    continue
                place = _followed(entry.path, top, above) if _is_link(entry) else entry.path
                if entry.is_dir():
                    pending.append((f"{name}/", place, above))
                else:
                    if not entry.is_file():
                        _require_plain_file(place)
                    yield name, place


def _is_link(entry: os.DirEntry[str]) -> bool:
    if sys.platform == "win32":  # a junction leads elsewhere too
        return bool(entry.stat(follow_symlinks=False).st_file_attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT)
    return entry.is_symlink()


def _followed(link: str, top: str, above: tuple[str, ...]) -> str:
    """Return the path that *link* leads to; refused unless that is inside *top* and no folder that holds the link."""
    try:
        place = os.path.realpath(link, strict=True)
    except FileNotFoundError:
        refuse_broken_link(Path(link))
    except OSError as error:
        refuse(_KEY, f"the link {shown_path(Path(link))} cannot be followed ({error.strerror})", "delete the link")
    if place in above:
        refuse(_KEY, f"the link {shown_path(Path(link))} leads back to a folder it lies in", "delete the link")
    if not place.startswith(os.path.join(top, "")):
        refuse_link_out(Path(link), Path(place))
    return place


def _require_plain_file(place: str) -> None:
    if not stat.S_ISREG(os.stat(place).st_mode):
        problem = f"{shown_path(Path(place))} is no plain file but a pipe, socket or device"
        refuse(_KEY, problem, "move it out of the data path")
