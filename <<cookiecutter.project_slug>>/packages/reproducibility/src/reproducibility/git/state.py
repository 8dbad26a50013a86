"""The git state: which commit runs, where it can be fetched, and what differs from it."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import Refused, Violation
from ..secrets import without_credentials
from .command import blob_id, bytes_on_disk, git, git_line
from .patch import uncommitted_patch

_BRANCH_VARIABLES = ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME")


@dataclass(frozen=True)
class GitState:
    """The code of a run.

    commit: 40 hexadecimal digits (64 in a SHA-256 repository).
    branch: its name; for a detached HEAD the CI system's name for it, else ``detached``.
    remote: URL of ``origin``, else of the first remote, without credentials; ``none`` without a remote.
    patch: what differs from the commit in the project's folder (see snapshot.py); empty when nothing does.
    """

    commit: str
    branch: str
    remote: str
    patch: bytes

    @property
    def dirty(self) -> bool:
        """Whether the files that run differ from the commit; an untracked file counts, an ignored one does not."""
        return bool(self.patch)


def git_state(root: Path) -> GitState:
    """Return the git state of the project at *root*, which may be a folder of a bigger repository.

    Raises Refused when there is no git, no repository, no commit, or no exact record of the changes.
    """
    top = Path(_line(root, "rev-parse", "--show-toplevel"))
    project = _line(root, "rev-parse", "--show-prefix").rstrip("/") or "."
    commit = git_line(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if commit is None:
        fix = f"run `git add --all` and `git commit -m 'First commit'` in {root}"
        raise Refused([Violation("git_commit", "the repository has no commit yet", fix)])
    _refuse_temporary_merge(commit)
    patch = uncommitted_patch(top, project, commit)
    if not patch and not git(top, "ls-tree", "-z", commit, "--", *_inside(project)):
        problem = f"no file of {root} is in the repository {top}, which ignores the folder"
        raise Refused([Violation("git_commit", problem, f"run `git init`, `git add --all` and `git commit` in {root}")])
    return GitState(commit, _branch(root), _remote(root), patch)


def git_author(root: Path) -> str | None:
    """Return who works here, as ``name <email>``: from GIT_AUTHOR_NAME and GIT_AUTHOR_EMAIL, else git's configuration.

    None when one of the two is not set; git's own guess from login and host name is never used.
    """
    found = []
    for part in ("name", "email"):
        value = os.environ.get(f"GIT_AUTHOR_{part.upper()}") or next(
            (value for owner in ("author", "user") if (value := git_line(root, "config", "--get", f"{owner}.{part}"))),
            "",
        )
        found.append(" ".join(value.split()))
    name, email = found
    return f"{name} <{email}>" if name and email else None


def is_in_commit(root: Path, path: Path) -> bool:
    """Tell whether *path* is in the commit of the repository at *root* with exactly the bytes it has on disk.

    For a symbolic link both the link and the file it ends at must be.
    """
    written = Path(root, path)
    top = git_line(root, "rev-parse", "--show-toplevel")
    return all(_is_committed(top, step) for step in {written, Path(os.path.realpath(written))})


def git_ignored(root: Path, files: Sequence[Path]) -> list[str]:
    """Return which *files*, all of them in the project at *root*, are in no commit because git ignores them."""
    if not files:
        return []
    listed = git(root, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", *map(str, files))
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def _is_committed(top: str | None, path: Path) -> bool:
    if not os.path.isfile(path) or git_line(path.parent, "rev-parse", "--show-toplevel") != top:
        return False
    entry = git_line(path.parent, "ls-tree", "HEAD", "--", path.name)
    blob = entry.split()[2] if entry else ""
    return blob_id(bytes_on_disk(path), blob) == blob


def _line(root: Path, *arguments: str) -> str:
    return os.fsdecode(git(root, *arguments)).removesuffix("\n")


def _inside(project: str) -> list[str]:
    return [] if project == "." else [f"{project}/"]


def _branch(root: Path) -> str:
    named = git_line(root, "symbolic-ref", "--quiet", "--short", "HEAD")
    from_ci = (os.environ[name] for name in _BRANCH_VARIABLES if os.environ.get(name))
    return _printable(named or next(from_ci, "detached"))


def _remote(root: Path) -> str:
    names = (git_line(root, "remote") or "").split("\n")
    url = git_line(root, "remote", "get-url", "origin" if "origin" in names else names[0])
    return _printable(without_credentials(url)) if url else "none"


def _printable(text: str) -> str:
    return os.fsencode(text).decode("utf-8", "replace")


def _refuse_temporary_merge(commit: str) -> None:
    """Refuse the commit that GitHub makes up for a pull request: it is on no branch and soon can be fetched no more."""
    reference = os.environ.get("GITHUB_REF", "")
    if re.fullmatch(r"refs/pull/\d+/merge", reference) and os.environ.get("GITHUB_SHA") == commit:
        problem = f"{commit} is the temporary merge commit of {reference}, which nobody can fetch later"
        fix = "give actions/checkout `ref: ${{ github.event.pull_request.head.sha }}`"
        raise Refused([Violation("git_commit", problem, fix)])
