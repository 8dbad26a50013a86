"""Recovered data: the files that a recorded run read, found by content and put where the run's code looks for them."""

import os
import posixpath
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from blake3 import blake3

from ..display import one_line, say
from ..errors import Refused, Violation, refuse
from ..git.command import blob_sizes, blobs, git
from ..provenance.data import DataFile, DataVersion, data_cache, data_version, differences, digests
from ..tracking.recorded import RecordedRun


def levels_above(path: str) -> int:
    """Return how many folders above the project a relative data path begins: 0 for most, 1 for ``../shared``."""
    return 0 if os.path.isabs(path) else posixpath.normpath(path).split("/").count("..")


def recover(recorded: RecordedRun, project: Path, root: Path, given: Path | None, scratch: Path) -> dict[str, Any]:
    """Put the data of *recorded* where its code, checked out in *project*, reads it; return the config to run.

    In this order the data is taken from: its path in *project*; the path *given*; its path in *root*, the project of
    today; single files from there and from git's history; DVC, where the commit has a pointer. Nothing is written
    outside the folder *scratch*, which has the checkout and no links on the way to it. The config is the recorded one,
    except that an absolute ``data.path`` may become *given*.

    Raises Refused, naming the files that differ, when this version of the data is in none of these places, and when it
    would have to be put where a link in the commit leads out of *scratch*.
    """
    values = recorded.values
    path = str(values["data"]["path"])
    wanted = recorded.manifest["tags"]["data_version"]
    place, today = project / path, root / path
    left_out = recorded.data_not_versioned
    say("looking for the data of the run ...")
    if _version(place, left_out, data_cache(project, path)) == wanted:
        return values
    if not os.path.isabs(path):
        # A link in the commit may lead to the user's own files. Nothing there is replaced.
        if (outside := _leads_out(place, scratch)) is not None:
            _refuse_link(recorded, today, outside)
        place = Path(os.path.realpath(place))
    for source in filter(None, (given, today)):
        # With the stat cache of the project of today: a file that was hashed there is not hashed again.
        if _version(source, left_out, data_cache(root, str(source) if source is given else path)) == wanted:
            if os.path.isabs(path):
                return values | {"data": values["data"] | {"path": str(source.resolve())}}
            _link(source, place, project)
            _copy_stat_cache(root, project, path)
            return values
    if not os.path.isabs(path):
        if _assemble(recorded, given or today, place, root, path) and _version(place, left_out) == wanted:
            return values
        if _pull(place, project, root) and _version(place, left_out) == wanted:
            return values
    _refuse_missing(recorded, given or today, place)


def _leads_out(place: Path, scratch: Path) -> Path | None:
    """Return where *place*, or a link in that folder, leads out of *scratch*; None if nothing does."""
    found = (Path(folder, name) for folder, folders, files in os.walk(place) for name in (*folders, *files))
    for path in chain([place], (each for each in found if each.is_symlink())):
        if not (real := Path(os.path.realpath(path))).is_relative_to(scratch):
            return real
    return None


def _version(place: Path, left_out: Sequence[str], cache: Path | None = None) -> str | None:
    found = _read(place, left_out, cache)
    return found.version if found else None


def _read(place: Path, left_out: Sequence[str], cache: Path | None = None) -> DataVersion | None:
    """Return the data version at *place*; None if no data is there, or data that a run would refuse.

    Pointers count as data: their digests tell whether the run had them.
    """
    try:
        return data_version(place, cache, not_versioned=left_out, pointers=True)
    except Refused:
        return None


def _link(source: Path, place: Path, project: Path) -> None:
    """Make *source* appear at *place*: as a link, which costs nothing; as a copy where a link will not do."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(place):
        try:
            place.symlink_to(source.resolve(), target_is_directory=source.is_dir())
        except OSError:  # Windows does not let every user make a link
            pass
        else:
            # A pattern such as `data/` ignores a folder but no link, and the run would count as one with changes.
            if not place.parent.resolve().is_relative_to(project) or not _is_untracked(project, place):
                return
            place.unlink()
    _copy(source, place)


def _is_untracked(project: Path, place: Path) -> bool:
    return bool(git(project, "status", "--porcelain", "--untracked-files=all", "--", str(place)))


def _copy(source: Path, place: Path) -> None:
    source = source.resolve()
    if source.is_dir():
        shutil.copytree(source, place, dirs_exist_ok=True)
    else:
        place.unlink(missing_ok=True)
        shutil.copyfile(source, place)


def _copy_stat_cache(root: Path, project: Path, path: str) -> None:
    """Give the run the digests of files that it sees through a link. The run checks that they are still valid."""
    known, copy = data_cache(root, path), data_cache(project, path)
    if known.exists():
        copy.parent.mkdir(exist_ok=True)
        with suppress(shutil.SameFileError):  # where the commit has a link for the folder
            shutil.copyfile(known, copy)


def _assemble(recorded: RecordedRun, source: Path, place: Path, root: Path, path: str) -> bool:
    """Put the run's files together from those left at *source* and from git's history; tell if all were found."""
    needed = [DataFile(**file) for file in recorded.manifest["data_files"]]
    left = _read(source, recorded.data_not_versioned)
    kept = {file.digest: file.path for file in left.files} if left else {}
    lost = [file for file in needed if file.digest not in kept]
    found = _in_history(root, path, lost) if lost else {}
    if any(file.digest not in found for file in lost):
        return False
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    for file in needed:
        target = place / file.path if file.path != "." else place
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.digest in found:
            target.write_bytes(found[file.digest])
        else:
            shutil.copyfile(source / kept[file.digest] if kept[file.digest] != "." else source, target)
    return True


def _in_history(root: Path, path: str, lost: Sequence[DataFile]) -> dict[str, bytes]:
    """Return {digest: content} of those *lost* files that a commit or a stash has, or once had, under *path*."""
    try:
        log = git(root, "log", "--all", "--reflog", "--format=", "--raw", "--no-abbrev", "-m", "-z", "--", path)
    except Refused:  # the path leads out of the repository
        return {}
    lines = (line[1:].decode().split() for line in log.split(b"\0") if line.startswith(b":"))
    entries = {entry for old, new, before, after, _ in lines for entry in ((old, before), (new, after))}
    names = sorted(name for mode, name in entries if mode.startswith("100"))  # no links, submodules or absent files
    sizes = {file.size for file in lost}
    fitting = [name for name, size in zip(names, blob_sizes(root, names, {}), strict=True) if size in sizes]
    contents = blobs(root, fitting, {}).values()
    wanted = {file.digest for file in lost}
    return {value: content for content in contents if (value := blake3(content).hexdigest()) in wanted}


def _pull(place: Path, project: Path, root: Path) -> bool:
    """Let DVC fetch what the pointers of the commit name, into the user's own cache; return whether DVC did."""
    pointers, dvc = _pointers(place), shutil.which("dvc")
    if not pointers or dvc is None:
        return False
    theirs, ours = (
        next((folder / ".dvc" for folder in (at, *at.parents) if (folder / ".dvc").is_dir()), None)
        for at in (root, project)
    )
    if theirs is None or ours is None:
        return False
    local = theirs / "config.local"
    if local.exists():  # where a user keeps the passwords of the remotes
        shutil.copyfile(local, ours / "config.local")
    say("fetching the data with dvc ...")
    cache = subprocess.run([dvc, "cache", "dir"], cwd=root, capture_output=True, encoding="utf-8", check=False)
    shared = Path(root, cache.stdout.strip()) if cache.returncode == 0 and cache.stdout.strip() else theirs / "cache"
    for command in (["cache", "dir", "--local", str(shared.resolve())], ["pull", "--quiet", *map(str, pointers)]):
        if subprocess.run([dvc, *command], cwd=project, stdout=subprocess.DEVNULL, check=False).returncode:
            return False
    return True


def _pointers(place: Path) -> list[Path]:
    """Return DVC's pointer files for what belongs at *place*."""
    candidates = [place.with_name(f"{place.name}.dvc"), *(place.rglob("*.dvc") if place.is_dir() else [])]
    return [pointer for pointer in candidates if pointer.is_file()]


def _refuse_missing(recorded: RecordedRun, source: Path, place: Path) -> NoReturn:
    problem = f"{_named(recorded)} is not on this machine: {_state(recorded, source)}"
    fix = "bring that version back, or name the place where it is with --data PATH"
    if _read(source, recorded.data_not_versioned) and (pointers := _refusal(source, recorded.data_not_versioned)):
        problem, fix = f"{problem}; {pointers.problem}", f"{pointers.fix}; or {fix}"
    if _pointers(place) and shutil.which("dvc") is None:
        fix = f"install dvc, for which the commit has a pointer to the data, and try again; or {fix}"
    refuse("data_version", problem, fix)


def _refuse_link(recorded: RecordedRun, today: Path, outside: Path) -> NoReturn:
    leads = f"a link in the run's commit leads to {one_line(str(outside), 200)}, and nothing is replaced there"
    problem = f"{_named(recorded)} cannot be put where its code looks: {leads} ({_state(recorded, today)})"
    fix = "bring that version back there yourself; a link to another place in the data must be relative"
    refuse("data_version", problem, fix)


def _named(recorded: RecordedRun) -> str:
    version = recorded.manifest["tags"]["data_version"]
    return f"the data of the run ({recorded.values['data']['path']}, {version[:19]}...)"


def _state(recorded: RecordedRun, source: Path) -> str:
    """Return, as a clause, what is at *source* instead of the data of the run."""
    if (found := _read(source, recorded.data_not_versioned)) is None:
        return f"nothing that can be read is at {one_line(str(source), 200)}"
    needed = {file["path"]: file["digest"] for file in recorded.manifest["data_files"]}
    changes = differences(needed, digests(found.files), source.name)
    return "; ".join(changes) or f"it is at {one_line(str(source), 200)}"


def _refusal(source: Path, left_out: Sequence[str]) -> Violation | None:
    """Return why a run would refuse the data at *source*; None if it would not."""
    try:
        data_version(source, not_versioned=left_out)
    except Refused as refused:
        return refused.violations[0]
    return None
