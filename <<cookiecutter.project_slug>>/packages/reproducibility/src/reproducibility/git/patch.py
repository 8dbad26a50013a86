"""The uncommitted patch: it turns a clean checkout of the commit into the files that run, to the byte.

Git builds the patch on a copy of its index and in a scratch folder: no byte of the user's repository changes. Paths in
the patch are relative to the repository's top: in a checkout of the commit, `git apply uncommitted.patch` replays it.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..display import listed, one_line
from ..errors import Refused, Violation, refuse
from ..secrets import is_secret_name, secrets_in
from .command import WorkTree, blob_id, blob_sizes, blobs, bytes_on_disk, git, scratch_environment

MAX_PATCH_BYTES = 10 * 1024 * 1024

_KEY = "uncommitted_changes"
_SUBMODULE = "160000"
_NOTHING = "000000"

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
    """One changed file; the mode 000000 means that the file does not exist on that side."""

    path: str
    old_mode: str
    new_mode: str
    old_blob: str
    new_blob: str


@dataclass(frozen=True)
class Status:
    """What git says about a project's folder.

    commit: the full id of the commit that is checked out; None if there is none yet. branch: its name; None for a
    detached HEAD. changes: a line of `git status --porcelain=v2` for each file that differs from the commit. is_known:
    whether the index has a file of the folder.
    """

    commit: str | None
    branch: str | None
    changes: tuple[str, ...]
    is_known: bool


@contextmanager
def copied_index(tree: WorkTree) -> Iterator[dict[str, str]]:
    """Yield the variables of a `scratch_environment` whose index is a copy of that of the repository of *tree*."""
    with scratch_environment(tree) as scratch:
        if tree.index.exists():
            # With its times: git compares them with the files' to find edits made in the same instant.
            shutil.copy2(tree.index, scratch["GIT_INDEX_FILE"])
        yield scratch


def status(tree: WorkTree, scratch: dict[str, str]) -> Status:
    """Return the status of the project in *tree*, with every edit that a flag in the index hides. No file is read."""
    is_known = _show_hidden_edits(tree.top, tree.project, scratch)
    options = ("--porcelain=v2", "-z", "--branch", "--no-ahead-behind", "--untracked-files=all", "--no-renames")
    printed = git(tree.top, "status", *options, "--ignore-submodules=none", "--", tree.project, environment=scratch)
    lines = os.fsdecode(printed).split("\0")[:-1]
    told = dict(line.removeprefix("# ").split(" ", 1) for line in lines if line.startswith("# branch."))
    commit, branch = told["branch.oid"], told["branch.head"]
    return Status(
        None if commit == "(initial)" else commit,
        None if branch == "(detached)" else branch,
        tuple(line for line in lines if not line.startswith("# ")),
        is_known,
    )


def uncommitted_patch(tree: WorkTree, found: Status, scratch: dict[str, str]) -> bytes:
    """Return the patch from the commit of the status *found* to the project's files in *tree*; b"" if it is clean.

    *scratch* are the variables of the `copied_index` of that status. The patch has untracked files. It has ignored
    files only if they were added by force. Raises Refused for an unfinished merge, a changed submodule or nested
    repository, a patch over MAX_PATCH_BYTES, a file that looks like a secret, and a file that git stores in other bytes
    than it has on disk.
    """
    top, project, commit = tree.top, tree.project, str(found.commit)
    sizes = _sizes_of_changes(top, found.changes, scratch)
    if not sizes:
        return b""
    _refuse_over(sum(sizes.values()), sizes)
    git(top, "add", "--all", "--", project, environment=scratch)
    changes = _changes(top, project, commit, scratch)
    _refuse_repositories(change.path for change in changes if _SUBMODULE in (change.old_mode, change.new_mode))
    _refuse_secrets_and_conversions(top, changes, scratch)
    patch = git(top, *_DIFF, *_AS_PATCH, commit, "--", project, environment=scratch)
    _refuse_over(len(patch), sizes)
    return patch


def _show_hidden_edits(top: Path, project: str, scratch: dict[str, str]) -> bool:
    """Clear the flags that let git overlook an edit; a file that a sparse checkout leaves out keeps its flag.

    Return whether the index has a file of the folder *project*.
    """
    assumed, skipped = [], []
    lines = git(top, "ls-files", "-v", "-z", "--", project, environment=scratch).split(b"\0")[:-1]
    for line in lines:
        flag, name = line[:1], line[2:]
        if flag.islower():
            assumed.append(name)
        if flag in (b"S", b"s") and os.path.lexists(top / os.fsdecode(name)):
            skipped.append(name)
    for option, names in (("--no-assume-unchanged", assumed), ("--no-skip-worktree", skipped)):
        if names:
            git(top, "update-index", option, "-z", "--stdin", stdin=b"\0".join(names) + b"\0", environment=scratch)
    return bool(lines)


def _sizes_of_changes(top: Path, lines: Iterable[str], scratch: dict[str, str]) -> dict[str, int]:
    """Return how many bytes each changed or untracked file can add to a patch. No file and no blob is read for it."""
    sizes, committed, repositories, unmerged = {}, {}, [], []
    for line in lines:
        kind, _, rest = line.partition(" ")
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
        refuse(_KEY, f"a merge is not finished in {listed(unmerged)}", fix)
    _refuse_repositories(repositories)
    if committed:
        for path, size in zip(committed, blob_sizes(top, committed.values(), scratch), strict=True):
            sizes[path] = max(sizes[path], size)
    return sizes


def _changes(top: Path, project: str, commit: str, scratch: dict[str, str]) -> list[_Change]:
    fields = git(top, *_DIFF, "--raw", "-z", commit, "--", project, environment=scratch).split(b"\0")[:-1]
    changes = []
    for meta, path in zip(fields[::2], fields[1::2], strict=True):
        old_mode, new_mode, old_blob, new_blob, _ = meta.decode().removeprefix(":").split(" ")
        changes.append(_Change(os.fsdecode(path), old_mode, new_mode, old_blob, new_blob))
    return changes


def _refuse_secrets_and_conversions(top: Path, changes: list[_Change], scratch: dict[str, str]) -> None:
    committed = blobs(top, (change.old_blob for change in changes if change.old_mode != _NOTHING), scratch)
    secret_names, secret_texts, converted = [], [], []
    for change in changes:
        if is_secret_name(change.path.rpartition("/")[2]):
            secret_names.append(change.path)
        new = b"" if change.new_mode == _NOTHING else bytes_on_disk(top / change.path)
        if change.new_mode != _NOTHING and blob_id(new, change.new_blob) != change.new_blob:
            converted.append(change.path)
        # A secret on both sides is in the history already, and the patch leaves it out. The patch has each secret that
        # the change adds or removes.
        before, after = secrets_in(committed.get(change.old_blob, b"")), secrets_in(new)
        kinds = {(before | after)[text] for text in before.keys() ^ after.keys()}
        if kinds:
            secret_texts.append(f"{one_line(change.path, 200)} ({', '.join(sorted(kinds))})")
    violations = []
    keep_out = "delete it, name it in .gitignore, or commit the change if it is meant to be public"
    if secret_names:
        problem = f"{listed(secret_names)} would be copied into the run's patch, and files of that name hold secrets"
        violations.append(Violation(_KEY, problem, keep_out))
    if secret_texts:
        problem = f"a secret would be copied into the run's patch, from {listed(secret_texts, limit=300)}"
        violations.append(Violation(_KEY, problem, keep_out))
    if converted:
        problem = f"git stores {listed(converted)} in other bytes than it has on disk, so a patch cannot give it back"
        fix = "commit it, or end the conversion (Git LFS, a filter, line endings) in .gitattributes"
        violations.append(Violation(_KEY, problem, fix))
    if violations:
        raise Refused(violations)


def _refuse_repositories(paths: Iterable[str]) -> None:
    if paths := list(paths):
        problem = f"{listed(paths)} is a git repository of its own with changes that a patch cannot carry"
        fix = "commit inside it, then `git add` and `git commit` its new pointer here; or name it in .gitignore"
        refuse(_KEY, problem, fix)


def _refuse_over(total: int, sizes: dict[str, int]) -> None:
    if total > MAX_PATCH_BYTES:
        largest = sorted(sizes, key=sizes.__getitem__, reverse=True)
        shown = listed(f"{one_line(path, 200)} ({sizes[path] / 2**20:.1f} MiB)" for path in largest)
        limit = f"{total / 2**20:.1f} MiB, and a run keeps at most {MAX_PATCH_BYTES / 2**20:.0f} MiB"
        problem = f"the changed files are {limit} of them; the largest: {shown}"
        fix = (
            "commit them, or name them in .gitignore (what lies under the data path is recorded by its content anyway)"
        )
        refuse(_KEY, problem, fix)
