"""Pointers: what tools for big files leave where the data belongs, and how to get the data itself.

Git LFS and git-annex leave small text files, or links to nothing. DVC leaves a file ``NAME.dvc`` beside the data. A run
that took these for the data would learn from nothing, or from a part.
"""

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from ..display import listed, shown_path
from ..errors import Refused, Violation, refuse

_KEY = "data_version"
LARGEST = 1024  # bytes: Git LFS takes no larger file for a pointer, and a key of git-annex is a file name

_GIT_LFS, _ANNEX = "Git LFS", "git-annex"
_FORMS = {
    _GIT_LFS: re.compile(
        rb"version https?://\S+\r?\n(?:ext-\d-\S+ \S+\r?\n)*oid sha256:[0-9a-f]{64}\r?\nsize \d+\s*\Z"
    ),
    # The second form is a link that was checked out where the file system has none.
    _ANNEX: re.compile(rb"(?:/annex/objects/[^\n]+\n|(?:\.\./)*\.git/(?:[^\n]+/)?annex/objects/[^\n]+\n?\Z)"),
}
BEGINNINGS = (b"version http", b"/annex/", b".git/", b"../")
_DVC_FILE = re.compile(rb"^outs:[ \t]*\r?$", re.MULTILINE)

# Where links lead that such tools make. DVC's caches hold files under their MD5, hubs for models and data under a hash.
_TO_ANNEX = re.compile(r"/annex/objects/")
_TO_DVC = re.compile(r"/\.dvc/cache/|/files/md5/[0-9a-f]{2}/|/[0-9a-f]{2}/[0-9a-f]{30}(\.dir)?(/|\Z)")
_TO_HUB = re.compile(r"/blobs/([0-9a-f]{40}|[0-9a-f]{64})\Z")


class PointerFound(Exception):
    """The file *place* holds no data but says where *tool* keeps it."""

    def __init__(self, tool: str, place: str) -> None:
        self.tool, self.place = tool, place


def pointer_of(content: bytes) -> str | None:
    """Return the tool whose pointer *content* is; None for data.

    Only a file of at most LARGEST bytes that has one of the BEGINNINGS can be one: look at these first, they cost less.
    """
    return next((tool for tool, form in _FORMS.items() if form.match(content)), None)


def is_dvc_file(place: str | Path) -> bool:
    """Whether *place* is a file of DVC that says which data belongs beside it."""
    try:
        with open(place, "rb") as stream:
            return bool(_DVC_FILE.search(stream.read(64 * LARGEST)))
    except OSError:
        return False


def refuse_pointers(path: Path, files: Iterable[tuple[str, str]], first: PointerFound) -> NoReturn:
    """Raise Refused for the *first* pointer and every other one among the *files*, (name, place), of the data *path*.

    The fix is the command of the tool that left them.
    """
    found = {first.tool: [first.place]}
    small = (place for _, place in files if os.path.getsize(place) <= LARGEST)
    for place in small:
        if place != first.place and (tool := pointer_of(Path(place).read_bytes())):
            found.setdefault(tool, []).append(place)
    commands = {_GIT_LFS: "git lfs pull", _ANNEX: f"git annex get {_argument(path)}"}
    raise Refused([_not_the_data(places, tool, commands[tool]) for tool, places in found.items()])


def require_data_of_dvc(path: Path, files: Iterable[tuple[str, str]]) -> None:
    """Raise Refused if the data *path* is a file of DVC, or if one of its *files* is and its data is not beside it."""
    if path.suffix == ".dvc" and not path.is_dir() and is_dvc_file(path):
        fix = f"dvc pull {_argument(path)}, and let data.path name {shown_path(path.with_suffix(''))}"
        refuse(_KEY, f"{shown_path(path)} is a pointer of DVC, not the data", fix)
    pointers = (place for name, place in files if name.endswith(".dvc"))
    if lonely := [each for each in pointers if not os.path.exists(each.removesuffix(".dvc")) and is_dvc_file(each)]:
        what = _argument(Path(lonely[0])) if len(lonely) == 1 else f"--recursive {_argument(path)}"
        raise Refused([_not_the_data(lonely, "DVC", f"dvc pull {what}")])


def dvc_file_of(place: Path) -> Path | None:
    """Return DVC's file for *place* or for a folder around it; None if there is none."""
    candidates = (each.with_name(f"{each.name}.dvc") for each in (place, *place.parents) if each.name)
    return next((each for each in candidates if is_dvc_file(each)), None)


def refuse_broken_link(link: Path) -> NoReturn:
    """Raise Refused for the *link*, which leads to nothing, with the command of the tool that made it."""
    target = Path(os.readlink(link)).as_posix()
    fix = "restore what it points to, or delete the link"
    if _TO_ANNEX.search(target):
        fix = f"git annex get {_argument(link)}"
    elif _TO_DVC.search(target):
        fix = f"dvc pull {_argument(link)}"
    refuse(_KEY, f"the link {shown_path(link)} leads to nothing", fix)


def refuse_link_out(link: Path, place: Path) -> NoReturn:
    """Raise Refused for the *link*, which leads out of the data path to *place*."""
    target = place.as_posix()
    fix = "copy what it points to into the data folder, or make the folder that holds both the data path"
    if _TO_ANNEX.search(target):
        fix = f"git annex unlock {_argument(link)}, which puts the file itself there"
    elif _TO_HUB.search(target):
        fix = "download into a folder of its own, as `hf download ... --local-dir DIR` does, or `cp -rL` the folder"
    elif _TO_DVC.search(target):
        fix = "dvc config cache.type reflink,hardlink,copy, then dvc checkout --relink"
    refuse(_KEY, f"the link {shown_path(link)} leads out of the data path, to {shown_path(place)}", fix)


def _not_the_data(places: list[str], tool: str, command: str) -> Violation:
    what = "are pointers" if len(places) > 1 else "is a pointer"
    names = listed(shown_path(Path(place)) for place in places)
    return Violation(_KEY, f"{names} {what} of {tool}, not the data", command)


def _argument(path: Path) -> str:
    return shlex.quote(shown_path(path))
