"""A snapshot: the patch that turns a clean checkout of the commit into the files that run, to the byte.

It is built on a copy of git's index and in an object folder of its own: no byte of the user's repository changes. (Git
may renew the time of an object file that it meets again, which only keeps the object from being pruned.)
Paths in it are relative to the repository's top: in a checkout of the commit, `git apply uncommitted.patch` replays it.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..display import one_line
from ..errors import Refused, Violation
from ..secrets import is_secret_name, secrets_in
from .command import blob_id, blob_sizes, blobs, bytes_on_disk, git

MAX_PATCH_BYTES = 10 * 1024 * 1024

_KEY = "uncommitted_changes"
_SUBMODULE = "160000"
_NOTHING = "000000"
_SHOWN = 5

# Each option undoes a setting under which the patch would not replay, or would run a program of the user's.
_DIFF = (
    *("diff-index", "--cached", "--full-index", "--no-renames", "--no-relative", "--ignore-submodules=none"),
    *("--no-ext-diff", "--no-textconv"),
)
_AS_PATCH = (
    *("--patch", "--binary", "--no-color", "--src-prefix=a/", "--dst-prefix=b/"),
    *("--unified=3", "--inter-hunk-context=0", "--diff-algorithm=myers"),
)


@dataclass(frozen=True)
class _Change:
    """One changed file; mode 000000 stands for "not there"."""

    path: str
    old_mode: str
    new_mode: str
    old_blob: str
    new_blob: str


def uncommitted_patch(top: Path, project: str, commit: str) -> bytes:
    """Return the patch from *commit* to the work tree of the folder *project* (posix, relative to *top*); b"" if clean.

    Untracked files are in it, ignored ones are not unless they were added by force. Raises Refused for an unfinished
    merge, a changed submodule or nested repository, a patch over MAX_PATCH_BYTES, a file that looks like a secret, and
    a file that git stores in another form than it has on disk.
    """
    with tempfile.TemporaryDirectory(prefix="snapshot-") as folder:
        aside = _aside(top, Path(folder))
        _show_hidden_edits(top, project, aside)
        sizes = _sizes_of_changes(top, project, aside)
        if not sizes:
            return b""
        _refuse_over(sum(sizes.values()), sizes)
        git(top, "add", "--all", "--", project, environment=aside)
        changes = _changes(top, project, commit, aside)
        _refuse_repositories(change.path for change in changes if _SUBMODULE in (change.old_mode, change.new_mode))
        _refuse_secrets_and_conversions(top, changes, aside)
        patch = git(top, *_DIFF, *_AS_PATCH, commit, "--", project, environment=aside)
        _refuse_over(len(patch), sizes)
        return patch


def _aside(top: Path, folder: Path) -> dict[str, str]:
    """Return the environment in which git reads the user's index and objects, but writes into *folder*."""
    paths = (git(top, "rev-parse", "--git-path", part).removesuffix(b"\n") for part in ("index", "objects"))
    index, objects = (top / os.fsdecode(path) for path in paths)
    if index.exists():
        # with its times: git compares them with the files' to find edits made in the same instant
        shutil.copy2(index, folder / "index")
    (folder / "objects" / "info").mkdir(parents=True)
    (folder / "objects" / "info" / "alternates").write_bytes(os.fsencode(f"{objects.resolve().as_posix()}\n"))
    return {"GIT_INDEX_FILE": str(folder / "index"), "GIT_OBJECT_DIRECTORY": str(folder / "objects")}


def _show_hidden_edits(top: Path, project: str, aside: dict[str, str]) -> None:
    """Clear the flags that let git overlook an edit. A file left out by a sparse checkout stays left out."""
    assumed, skipped = [], []
    for line in git(top, "ls-files", "-v", "-z", "--", project, environment=aside).split(b"\0")[:-1]:
        flag, name = line[:1], line[2:]
        if flag.islower():
            assumed.append(name)
        if flag in (b"S", b"s") and os.path.lexists(top / os.fsdecode(name)):
            skipped.append(name)
    for option, names in (("--no-assume-unchanged", assumed), ("--no-skip-worktree", skipped)):
        if names:
            git(top, "update-index", option, "-z", "--stdin", stdin=b"\0".join(names) + b"\0", environment=aside)


def _sizes_of_changes(top: Path, project: str, aside: dict[str, str]) -> dict[str, int]:
    """Return the bytes each changed or untracked file can bring into a patch, before anything of that size is read."""
    command = ("status", "--porcelain=v2", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=none")
    lines = git(top, *command, "--", project, environment=aside).split(b"\0")[:-1]
    sizes, committed, repositories, unmerged = {}, {}, [], []
    for line in lines:
        kind, _, rest = os.fsdecode(line).partition(" ")
        if kind == "?":
            path = rest
            if path.endswith("/"):  # git descends into folders, but not into another repository
                repositories.append(path)
        elif kind == "u":
            path = rest.split(" ", 9)[9]
            unmerged.append(path)
        else:
            _, _, old_mode, index_mode, new_mode, blob, _, path = rest.split(" ", 7)
            if _SUBMODULE in (old_mode, index_mode, new_mode):
                repositories.append(path)
            elif old_mode != _NOTHING:
                committed[path] = blob
        sizes[path] = os.lstat(top / path).st_size if os.path.lexists(top / path) else 0
    if unmerged:
        fix = "`git add` the files you resolved and `git commit`, or give the merge up with `git merge --abort`"
        raise Refused([Violation(_KEY, f"a merge is not finished in {_named(unmerged)}", fix)])
    _refuse_repositories(repositories)
    for path, size in zip(committed, blob_sizes(top, committed.values(), aside), strict=True):
        sizes[path] = max(sizes[path], size)
    return sizes


def _changes(top: Path, project: str, commit: str, aside: dict[str, str]) -> list[_Change]:
    fields = git(top, *_DIFF, "--raw", "-z", commit, "--", project, environment=aside).split(b"\0")[:-1]
    changes = []
    for meta, path in zip(fields[::2], fields[1::2], strict=True):
        old_mode, new_mode, old_blob, new_blob, _ = meta.decode().removeprefix(":").split(" ")
        changes.append(_Change(os.fsdecode(path), old_mode, new_mode, old_blob, new_blob))
    return changes


def _refuse_secrets_and_conversions(top: Path, changes: list[_Change], aside: dict[str, str]) -> None:
    committed = blobs(top, (change.old_blob for change in changes if change.old_mode != _NOTHING), aside)
    secret_names, secret_texts, converted = [], [], []
    for change in changes:
        if is_secret_name(change.path.rpartition("/")[2]):
            secret_names.append(change.path)
        new = b"" if change.new_mode == _NOTHING else bytes_on_disk(top / change.path)
        if change.new_mode != _NOTHING and blob_id(new, change.new_blob) != change.new_blob:
            converted.append(change.path)
        # A secret on both sides is in the history already and this change leaves it be; one taken out is in the patch.
        before, after = secrets_in(committed.get(change.old_blob, b"")), secrets_in(new)
        kinds = {(before | after)[text] for text in before.keys() ^ after.keys()}
        if kinds:
            secret_texts.append(f"{_named([change.path])} ({', '.join(sorted(kinds))})")
    violations = []
    keep_out = "delete it, name it in .gitignore, or commit the change if it is meant to be public"
    if secret_names:
        problem = f"{_named(secret_names)} would be copied into the run's patch, and files of that name hold secrets"
        violations.append(Violation(_KEY, problem, keep_out))
    if secret_texts:
        problem = f"a secret would be copied into the run's patch, from {', '.join(secret_texts[:_SHOWN])}"
        violations.append(Violation(_KEY, problem, keep_out))
    if converted:
        problem = f"git stores {_named(converted)} in other bytes than it has on disk, so a patch cannot give it back"
        fix = "commit it, or end the conversion (Git LFS, a filter, line endings) in .gitattributes"
        violations.append(Violation(_KEY, problem, fix))
    if violations:
        raise Refused(violations)


def _refuse_repositories(paths: Iterable[str]) -> None:
    if paths := list(paths):
        problem = f"{_named(paths)} is a git repository of its own with changes that a patch cannot carry"
        fix = "commit inside it, then `git add` and `git commit` its new pointer here; or name it in .gitignore"
        raise Refused([Violation(_KEY, problem, fix)])


def _refuse_over(total: int, sizes: dict[str, int]) -> None:
    if total > MAX_PATCH_BYTES:
        largest = sorted(sizes, key=sizes.__getitem__, reverse=True)
        shown = ", ".join(f"{_named([path])} ({sizes[path] / 2**20:.1f} MiB)" for path in largest[:_SHOWN])
        limit = f"{total / 2**20:.1f} MiB, and a run keeps at most {MAX_PATCH_BYTES / 2**20:.0f} MiB"
        problem = f"the changed files are {limit} of them; the largest: {shown}"
        fix = (
            "commit them, or name them in .gitignore (what lies under the data path is recorded by its content anyway)"
        )
        raise Refused([Violation(_KEY, problem, fix)])


def _named(paths: list[str]) -> str:
    """Return the first few *paths* for a message."""
    shown = [one_line(path, 300) for path in paths[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
