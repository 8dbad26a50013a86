"""The place of the data: what ``data.path`` may name, and what to do where nothing is there."""

import os
import re
import shlex
from pathlib import Path

from ..display import one_line, shown_path
from ..errors import refuse
from ..secrets import without_credentials
from .pointers import dvc_file_of, refuse_broken_link

_KEY = "data.path"
_READ = "a run reads a file or a folder of this machine, absolute or from the project's root"
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # two letters at least: C:// is a drive
_PATTERN = re.compile(r"[*?\[]")
_VARIABLE = re.compile(r"\$\w|\$\{|%\w+%")
_FETCH = {
    **dict.fromkeys(("s3", "s3a", "s3n"), "aws s3 cp"),
    **dict.fromkeys(("gs", "gcs"), "gcloud storage cp"),
    **dict.fromkeys(("az", "abfs", "abfss", "wasbs"), "azcopy copy"),
    **dict.fromkeys(("http", "https", "ftp"), "curl"),
    "hdfs": "hdfs dfs -get",
    "hf": "hf download",
}


def require_place(path: str, place: Path) -> None:
    """Raise Refused if nothing is at *place*, which the text *path* of a config names, and tell the way.

    Only then is the text looked at: a folder may be called ``[a]`` or ``~``.
    """
    try:
        os.stat(place)
        return
    except FileNotFoundError:
        pass
    except UnicodeEncodeError as error:
        problem = f"{one_line(path, 300)} cannot be a file's name in the encoding of this shell ({error.encoding})"
        refuse(_KEY, problem, "set PYTHONUTF8=1, or a locale such as C.UTF-8")
    except OSError:  # something is there: whoever reads it says what is wrong
        return
    shown = one_line(path, 300)
    if address := _ADDRESS.match(path):
        _refuse_address(address[1].lower(), without_credentials(path))
    if path.startswith("~"):
        fix = f"write {one_line(os.path.expanduser(path), 300)}, or a path from the project's root for everybody"
        refuse(_KEY, f"{shown} begins with ~, which nothing expands: {_READ}", fix)
    if _VARIABLE.search(path):
        fix = "write the path itself, or give it for one run with --set data.path=PATH"
        refuse(_KEY, f"{shown} has a variable, which nothing expands: {_READ}", fix)
    if _PATTERN.search(path):
        folder = _PATTERN.split(path, maxsplit=1)[0].rpartition("/")[0] or "."
        fix = f"write {one_line(folder, 300)}, the folder of the files, and let your code choose among them"
        refuse(_KEY, f"{shown} is a pattern: {_READ}", fix)
    if os.path.islink(place):
        refuse_broken_link(place)
    if pointer := dvc_file_of(place):
        problem = f"{shown_path(place)} does not exist, and DVC has a pointer to it"
        refuse("data_version", problem, f"dvc pull {shlex.quote(shown_path(pointer))}")
    fix = "put the data there, or correct the data path in the config"
    refuse("data_version", f"{shown_path(place)} does not exist", fix)


def _refuse_address(scheme: str, address: str) -> None:
    shown = one_line(address, 300)
    if scheme == "file":
        refuse(_KEY, f"{shown} is an address: {_READ}", "write the path without file://")
    way = f"`{_FETCH[scheme]}`, or " if scheme in _FETCH else ""
    fix = f"copy it there first, with {way}`dvc import-url`, and let data.path name the copy"
    refuse(_KEY, f"{shown} is an address: {_READ}", fix)
