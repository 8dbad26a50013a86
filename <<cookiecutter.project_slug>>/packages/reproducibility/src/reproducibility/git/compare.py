"""A code difference: what differs between two commits, each with its patch. The work tree does not matter.

Git writes both sides as trees into a scratch folder: no byte of the user's repository changes.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import Refused
from .command import blobs, git, scratch_environment, work_tree
from .state import fetch_commit

_NOTHING = "000000"
_CONFIG = re.compile(r"configs/.*\.ya?ml")
_MOST_COMMITS = 1000
_DIFF = ("diff-tree", "-r", "--no-renames", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color")
_AS_PATCH = ("--patch", "--binary", "--src-prefix=a/", "--dst-prefix=b/", "--diff-algorithm=myers")


@dataclass(frozen=True)
class Code:
    """The code of a run: its commit, its patch (b"" if there is none, None if the patch is lost), and its remote."""

    commit: str
    patch: bytes | None
    remote: str


@dataclass(frozen=True)
class FileDifference:
    """A file that differs: its posix path in the project, and which sides have the file.

    lines: how many lines only the first side has, and how many only the second; None for a binary file.
    contents: the bytes on both sides, b"" where the file is missing; None for all but YAML files in configs/.
    """

    path: str
    in_a: bool
    in_b: bool
    lines: tuple[int, int] | None
    contents: tuple[bytes, bytes] | None


@dataclass(frozen=True)
class CodeDifference:
    """What differs between the code of two runs, in the project's folder.

    only_a, only_b: ``<short id> <subject>`` of each commit that only this side has, newest first.
    patch: `git apply` turns the first side into the second with it; b"" if it was not asked for.
    problems: what could not be compared, one clause each. If there are any, there may be more differences.
    """

    files: tuple[FileDifference, ...] = ()
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    patch: bytes = b""
    problems: tuple[str, ...] = ()


def compare(root: Path, a: Code, b: Code, with_patch: bool = False) -> CodeDifference:
    """Compare the code of two runs in the project at *root*.

    A missing commit is fetched, but only from the remotes of this repository: the address in a tag may be anybody's.
    """
    try:
        tree = work_tree(root)
        top, project = tree.top, tree.project
        with scratch_environment(tree) as scratch:
            missing = [
                code.commit
                for code in (a, b)
                if fetch_commit(top, code.commit, code.remote, own_remotes_only=True, environment=scratch) is not None
            ]
            if missing:
                lost = " and ".join(f"commit {commit[:10]}" for commit in dict.fromkeys(missing))
                where = "neither in this repository nor can it be fetched from its remotes"
                return CodeDifference(problems=(f"{lost} is {where}: what changed in the code cannot be shown",))
            trees, problems = [], []
            for name, code in (("A", a), ("B", b)):
                # With one patch lost, the other one alone would look like a difference.
                patch = code.patch if a.patch is not None and b.patch is not None else b""
                side, applied = _tree(top, code.commit, patch, scratch)
                trees.append(side)
                if code.patch is None:
                    problems.append(f"the uncommitted changes of {name} are lost: only the commits are compared")
                elif not applied:
                    problems.append(f"the uncommitted changes of {name} do not apply to its commit")
            inside = [] if project == "." else [f"{project}/"]
            sides = (*trees, "--", *inside)
            return CodeDifference(
                files=tuple(_files(top, project, sides, scratch)),
                only_a=_commits(top, b.commit, a.commit, inside, scratch),
                only_b=_commits(top, a.commit, b.commit, inside, scratch),
                patch=git(top, *_DIFF, *_AS_PATCH, *sides, environment=scratch) if with_patch else b"",
                problems=tuple(problems),
            )
    except Refused as refused:  # no git, or no repository, as in an image
        return CodeDifference(problems=tuple(violation.problem for violation in refused.violations))


def _tree(top: Path, commit: str, patch: bytes | None, scratch: Mapping[str, str]) -> tuple[str, bool]:
    """Return the tree of *commit* with *patch*, and whether the patch applied; if not, the tree of the commit alone."""
    git(top, "read-tree", commit, environment=scratch)
    applied = True
    if patch:
        try:
            git(top, "apply", "--cached", "--whitespace=nowarn", "-", stdin=patch, environment=scratch)
        except Refused:
            applied = False
    return git(top, "write-tree", environment=scratch).decode().strip(), applied


def _files(top: Path, project: str, sides: tuple[str, ...], scratch: Mapping[str, str]) -> Iterator[FileDifference]:
    fields = git(top, *_DIFF, "--raw", "-z", *sides, environment=scratch).split(b"\0")[:-1]
    counted = git(top, *_DIFF, "--numstat", "-z", *sides, environment=scratch).split(b"\0")[:-1]
    for meta, name, line in zip(fields[::2], fields[1::2], counted, strict=True):
        old_mode, new_mode, old, new, _ = meta.decode().removeprefix(":").split(" ")
        added, removed, _ = line.split(b"\t", 2)
        path = os.fsdecode(name)
        path = path if project == "." else path.removeprefix(f"{project}/")
        contents = None
        if _CONFIG.fullmatch(path) and {old_mode, new_mode} <= {_NOTHING, "100644", "100755"}:
            found = blobs(top, (blob for blob in (old, new) if blob.strip("0")), scratch)
            contents = (found.get(old, b""), found.get(new, b""))
        lines = None if added == b"-" else (int(removed), int(added))
        yield FileDifference(path, old_mode != _NOTHING, new_mode != _NOTHING, lines, contents)


def _commits(top: Path, without: str, of: str, inside: list[str], scratch: Mapping[str, str]) -> tuple[str, ...]:
    """Return the commits before and with *of* that are not before *without*, as ``<short id> <subject>``."""
    command = ("log", "--no-show-signature", "-z", "--format=%h %s", f"--max-count={_MOST_COMMITS}")
    listed = git(top, *command, f"{without}..{of}", "--", *inside, environment=scratch)
    return tuple(line.decode("utf-8", "replace") for line in listed.split(b"\0") if line)
