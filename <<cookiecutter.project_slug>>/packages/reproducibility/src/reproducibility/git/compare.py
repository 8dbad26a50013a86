"""A code difference: the files of two commits with their patches, side by side, whatever the work tree looks like now.

Both are built as trees in an object folder of their own, beside git's: no byte of the user's repository changes.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import Refused
from ..secrets import without_credentials
from .command import blobs, git, git_line, reaching

_NOTHING = "000000"
_CONFIG = re.compile(r"configs/.*\.ya?ml")
_MOST_COMMITS = 1000
_DIFF = ("diff-tree", "-r", "--no-renames", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color")
_AS_PATCH = ("--patch", "--binary", "--src-prefix=a/", "--dst-prefix=b/", "--diff-algorithm=myers")


@dataclass(frozen=True)
class Code:
    """The code of a run: a commit, the patch on it (b"" if there is none, None if it is lost), where it came from."""

    commit: str
    patch: bytes | None
    remote: str


@dataclass(frozen=True)
class FileDifference:
    """A file that differs, by its posix path in the project, and on which sides it is.

    lines: how many only the first has and only the second has; None for binary files.
    contents: of a YAML file in configs/, on both sides; b"" where it is not.
    """

    path: str
    in_a: bool
    in_b: bool
    lines: tuple[int, int] | None
    contents: tuple[bytes, bytes] | None


@dataclass(frozen=True)
class CodeDifference:
    """What differs in the project's folder between two runs' code, and the commits that lie between.

    only_a, only_b: ``<short id> <subject>``, newest first, of the commits that one side has and the other has not.
    patch: what `git apply` turns the first into the second with, if it was asked for.
    problems: what could not be told, one clause each; then there may be more differences than these.
    """

    files: tuple[FileDifference, ...] = ()
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    patch: bytes = b""
    problems: tuple[str, ...] = ()


def compare(root: Path, a: Code, b: Code, with_patch: bool = False) -> CodeDifference:
    """Compare the code of two runs in the project at *root*; a commit that is not here is fetched from its remote."""
    try:
        with _aside(root) as (top, project, aside):
            missing = [code.commit for code in (a, b) if not _is_here(top, code, aside)]
            if missing:
                lost = " and ".join(f"commit {commit[:10]}" for commit in dict.fromkeys(missing))
                where = "neither in this repository nor can it be fetched from its remotes"
                return CodeDifference(problems=(f"{lost} is {where}: what changed in the code cannot be shown",))
            trees, problems = [], []
            for name, code in (("A", a), ("B", b)):
                # Changes of one side alone would look as if the other had not had them.
                patch = code.patch if a.patch is not None and b.patch is not None else b""
                tree, applied = _tree(top, code.commit, patch, aside)
                trees.append(tree)
                if code.patch is None:
                    problems.append(f"the uncommitted changes of {name} are lost: only the commits are compared")
                elif not applied:
                    problems.append(f"the uncommitted changes of {name} do not apply to its commit")
            inside = [] if project == "." else [f"{project}/"]
            sides = (*trees, "--", *inside)
            return CodeDifference(
                files=tuple(_files(top, project, sides, aside)),
                only_a=_commits(top, b.commit, a.commit, inside, aside),
                only_b=_commits(top, a.commit, b.commit, inside, aside),
                patch=git(top, *_DIFF, *_AS_PATCH, *sides, environment=aside) if with_patch else b"",
                problems=tuple(problems),
            )
    except Refused as refused:  # no git, or no repository, as in an image
        return CodeDifference(problems=tuple(violation.problem for violation in refused.violations))


@contextmanager
def _aside(root: Path) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """Give the repository's top, the project's folder in it, and the environment in which git writes elsewhere."""
    top = Path(os.fsdecode(git(root, "rev-parse", "--show-toplevel")).removesuffix("\n"))
    project = os.fsdecode(git(root, "rev-parse", "--show-prefix")).removesuffix("\n").rstrip("/") or "."
    objects = top / os.fsdecode(git(top, "rev-parse", "--git-path", "objects").removesuffix(b"\n"))
    with tempfile.TemporaryDirectory(prefix="difference-") as folder:
        alternates = Path(folder, "objects", "info", "alternates")
        alternates.parent.mkdir(parents=True)
        alternates.write_bytes(os.fsencode(f"{objects.resolve().as_posix()}\n"))
        yield top, project, {"GIT_OBJECT_DIRECTORY": str(Path(folder, "objects")), "GIT_INDEX_FILE": f"{folder}/index"}


def _is_here(top: Path, code: Code, aside: Mapping[str, str]) -> bool:
    """Tell whether the commit can be read, once it was asked for at the remotes if need be."""
    if _done(top, aside, "cat-file", "-e", f"{code.commit}^{{commit}}") is not None:
        return True
    names = (git_line(top, "remote") or "").split()
    # Only where this repository fetches from anyway: an address in a tag may be anybody's. The run's own remote first.
    names.sort(key=lambda name: without_credentials(git_line(top, "remote", "get-url", name) or "") != code.remote)
    reach = {**aside, **reaching()}
    # Nothing here is to move: no branch of the remote's, no FETCH_HEAD.
    fetch = ("fetch", "--quiet", "--no-write-fetch-head", "--refmap=", "--no-tags", "--no-auto-gc")
    for name in names:
        if _done(top, reach, *fetch, "--no-recurse-submodules", name, code.commit) is not None:
            return True
        # An old server gives no commit by its name, but what its branches reach.
        branches = (_done(top, reach, "ls-remote", "--heads", name) or b"").decode("ascii", "replace").split()[::2]
        if branches and _done(top, reach, *fetch, "--no-recurse-submodules", name, *branches) is not None:
            if _done(top, aside, "cat-file", "-e", f"{code.commit}^{{commit}}") is not None:
                return True
    return False


def _done(top: Path, environment: Mapping[str, str], *arguments: str, stdin: bytes = b"") -> bytes | None:
    """Return what git prints; None when it fails."""
    try:
        return git(top, *arguments, environment=environment, stdin=stdin)
    except Refused:
        return None


def _tree(top: Path, commit: str, patch: bytes | None, aside: Mapping[str, str]) -> tuple[str, bool]:
    """Return the tree of *commit* with *patch*, and whether the patch did apply."""
    git(top, "read-tree", commit, environment=aside)
    applied = not patch or _done(top, aside, "apply", "--cached", "--whitespace=nowarn", "-", stdin=patch) is not None
    return git(top, "write-tree", environment=aside).decode().strip(), applied


def _files(top: Path, project: str, sides: tuple[str, ...], aside: Mapping[str, str]) -> Iterator[FileDifference]:
    fields = git(top, *_DIFF, "--raw", "-z", *sides, environment=aside).split(b"\0")[:-1]
    counted = git(top, *_DIFF, "--numstat", "-z", *sides, environment=aside).split(b"\0")[:-1]
    for meta, name, line in zip(fields[::2], fields[1::2], counted, strict=True):
        old_mode, new_mode, old, new, _ = meta.decode().removeprefix(":").split(" ")
        added, removed, _ = line.split(b"\t", 2)
        path = os.fsdecode(name)
        path = path if project == "." else path.removeprefix(f"{project}/")
        contents = None
        if _CONFIG.fullmatch(path) and {old_mode, new_mode} <= {_NOTHING, "100644", "100755"}:
            found = blobs(top, (blob for blob in (old, new) if blob.strip("0")), aside)
            contents = (found.get(old, b""), found.get(new, b""))
        lines = None if added == b"-" else (int(removed), int(added))
        yield FileDifference(path, old_mode != _NOTHING, new_mode != _NOTHING, lines, contents)


def _commits(top: Path, without: str, of: str, inside: list[str], aside: Mapping[str, str]) -> tuple[str, ...]:
    """Return the commits that *of* has and *without* has not."""
    command = ("log", "--no-show-signature", "-z", "--format=%h %s", f"--max-count={_MOST_COMMITS}")
    listed = git(top, *command, f"{without}..{of}", "--", *inside, environment=aside)
    return tuple(line.decode("utf-8", "replace") for line in listed.split(b"\0") if line)
