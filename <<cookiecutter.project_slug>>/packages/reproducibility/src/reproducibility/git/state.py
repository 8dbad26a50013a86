"""The git state: which commit runs, where it can be fetched, and what differs from it."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import Refused, refuse
from ..secrets import without_credentials
from .command import blob_id, bytes_on_disk, commit_id, git, git_line, reaching, readable_text, work_tree
from .patch import copied_index, status, uncommitted_patch
from .settings import Settings

# A recorded run may come from anybody, and so may the address in its tags. Only these forms are given to git: others
# could start a helper program (`ext::sh -c ...`) or be taken for an option.
_ADDRESS = re.compile(r"(?:https?|ssh|git|file)://.+|[\w.-]+@[\w.-]+:.+|/.+")
_BRANCH_VARIABLES = ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME")


@dataclass(frozen=True)
class GitState:
    """The code of a run.

    commit: 40 hexadecimal digits (64 in a SHA-256 repository).
    branch: its name; for a detached HEAD the name that the CI system gives it, else ``detached``.
    remote: URL of ``origin``, else of the first remote, without credentials; ``none`` without a remote.
    patch: what differs from the commit in the project's folder (see patch.py); b"" when nothing does.
    """

    commit: str
    branch: str
    remote: str
    patch: bytes

    @property
    def dirty(self) -> bool:
        """Whether the files that run differ from the commit. An untracked file counts, an ignored one does not."""
        return bool(self.patch)


def git_state(root: Path, settings: Settings | None = None) -> GitState:
    """Return the git state of the project at *root*, which may be a folder of a bigger repository.

    *settings* are those of the project, if the caller has them already. Raises Refused when there is no git, no
    repository, no commit, or no exact record of the changes.
    """
    tree = work_tree(root)
    with copied_index(tree) as scratch:
        found = status(tree, scratch)
        if found.commit is None:
            fix = f"run `git add --all` and `git commit -m 'First commit'` in {root}"
            refuse("git_commit", "the repository has no commit yet", fix)
        _refuse_temporary_merge(found.commit)
        patch = uncommitted_patch(tree, found, scratch)
    if not patch and not found.is_known:
        problem = f"no file of {root} is in the repository {tree.top}, which ignores the folder"
        refuse("git_commit", problem, f"run `git init`, `git add --all` and `git commit` in {root}")
    from_ci = (os.environ[name] for name in _BRANCH_VARIABLES if os.environ.get(name))
    branch = found.branch or next(from_ci, "detached")
    return GitState(found.commit, readable_text(branch), (settings or Settings(root)).remote, patch)


def is_in_commit(root: Path, path: Path) -> bool:
    """Whether the commit of the repository at *root* has *path* with exactly the bytes that are on disk.

    For a symbolic link this must hold for the link and for the file that the link leads to.
    """
    written = Path(root, path)
    top = git_line(root, "rev-parse", "--show-toplevel")
    return all(_is_committed(top, step) for step in {written, Path(os.path.realpath(written))})


def _is_committed(top: str | None, path: Path) -> bool:
    if not os.path.isfile(path) or git_line(path.parent, "rev-parse", "--show-toplevel") != top:
        return False
    entry = git_line(path.parent, "ls-tree", "HEAD", "--", path.name)
    blob = entry.split()[2] if entry else ""
    return blob_id(bytes_on_disk(path), blob) == blob


def git_ignored(root: Path, files: Sequence[str]) -> list[str]:
    """Return which *files* of the project at *root* git ignores, so that no commit has them; relative to *root*."""
    if not files:
        return []
    listed = git(root, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", *files)
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def has_commit(root: Path, commit: str, environment: Mapping[str, str] | None = None) -> bool:
    """Whether the repository at *root* has *commit*, which is a full commit id."""
    return commit_id(root, commit, environment) is not None


def fetch_commit(
    root: Path,
    commit: str,
    remote: str,
    *,
    own_remotes_only: bool = False,
    environment: Mapping[str, str] | None = None,
) -> dict[str, str] | None:
    """Fetch *commit* into the repository at *root*, unless it is there; None on success, else {address: why not}.

    The remotes of the repository are asked, the one at the address *remote* first, then origin. If none is at that
    address, the address itself is asked last, unless *own_remotes_only*. No branch, tag or FETCH_HEAD changes. In a
    `scratch_environment` the objects go into the scratch folder.
    """
    environment = dict(environment or {})
    if has_commit(root, commit, environment):
        return None
    names = (git_line(root, "remote") or "").split()
    addresses = {name: without_credentials(git_line(root, "remote", "get-url", name) or "") for name in names}
    # A remote is asked by its name: its address may need a password that the recorded address lacks.
    sources = sorted(names, key=lambda name: (addresses[name] != remote, name != "origin"))
    if not own_remotes_only and remote not in addresses.values() and _ADDRESS.fullmatch(remote):
        sources.append(remote)
    fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--refmap=", "--no-auto-gc")
    fetch = (*fetch, "--no-recurse-submodules", "--end-of-options")  # what a run recorded may look like an option
    environment |= reaching(root)
    problems = {}
    for source in sources:
        try:
            git(root, *fetch, source, commit, environment=environment)
        except Refused as refused:
            problems[addresses.get(source, source)] = refused.violations[0].problem.rpartition(": ")[2]
            with suppress(Refused):
                # Some servers give out no commit by its id, only what their branches are at and what lies before that.
                listing = git(root, "ls-remote", "--heads", "--end-of-options", source, environment=environment)
                if tips := listing.decode("ascii", "replace").split()[::2]:
                    git(root, *fetch, source, *tips, environment=environment)
        if has_commit(root, commit, environment):
            return None
    return problems


def _refuse_temporary_merge(commit: str) -> None:
    """Refuse the merge commit that GitHub makes for a pull request: no branch has it, and soon nobody can fetch it."""
    reference = os.environ.get("GITHUB_REF", "")
    if re.fullmatch(r"refs/pull/\d+/merge", reference) and os.environ.get("GITHUB_SHA") == commit:
        problem = f"{commit} is the temporary merge commit of {reference}, which nobody can fetch later"
        fix = "give actions/checkout `ref: ${{ github.event.pull_request.head.sha }}`"
        refuse("git_commit", problem, fix)
