"""A branch of its own for what a repository gets: written in a scratch work tree, so that the user's stays as it is."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from packaging.utils import canonicalize_name
from reproducibility.errors import refuse
from reproducibility.git.command import commit_id, git
from reproducibility.git.settings import Settings
from reproducibility.lockfile import LOCK, pins
from reproducibility.secrets import recordable

from .files import noxfile_name, write
from .repository import MACHINERY, Installed, Repository

BRANCH = "reproducibility"
_MESSAGE = "Record where runs come from\n\nWritten by `nox -s join` of the template. No code was changed.\n"
# The machinery needs its own version of these, and they compute nothing.
_MLFLOW = {"mlflow", "mlflow-skinny", "mlflow-tracing"}


def apply(
    repository: Repository, installed: Installed | None, python: str, train: Sequence[str], data: str
) -> dict[str, tuple[str, str]]:
    """Make the branch `BRANCH`, one commit after HEAD; return {package: (installed, locked)} of versions that differ.

    Raises Refused, and leaves nothing, if there is such a branch, nobody is named as author, or no lock can be made.
    """
    root = repository.root
    if commit_id(root, f"refs/heads/{BRANCH}"):
        refuse("--apply", f"there is a branch {BRANCH}", f"look at it, or delete it: git branch -D {BRANCH}")
    if (author := Settings(root).author) is None:
        fix = 'git config user.name "Your Name" and git config user.email you@example.com'
        refuse("--apply", "git does not know who makes the commit", fix)
    name, _, email = author.removesuffix(">").partition(" <")
    named = {"NAME": name, "EMAIL": email}
    people = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in named.items()}
    with _work_tree(repository) as top:
        folder = top / repository.folder
        written = write(repository, folder, top, python, train, data)
        _lock(folder, noxfile_name(repository), installed)
        lock = (folder / LOCK).relative_to(top).as_posix()
        git(top, "add", "--all", "--force", "--", *written, lock)
        git(top, "commit", "--quiet", "--no-verify", "--no-gpg-sign", f"--message={_MESSAGE}", environment=people)
        git(root, "branch", BRANCH, str(commit_id(top, "HEAD")))
        locked = pins(LOCK, (folder / LOCK).read_bytes(), every_platform=True)
    before = installed.packages if installed else {}
    return {each: (before[each], locked[each]) for each in before if locked.get(each, before[each]) != before[each]}


@contextmanager
def _work_tree(repository: Repository) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="join-") as scratch:
        top = Path(scratch).resolve() / "tree"
        git(repository.root, "worktree", "add", "--quiet", "--detach", str(top), repository.commit)
        try:
            yield top
        finally:
            git(repository.root, "worktree", "remove", "--force", str(top))


def _lock(folder: Path, noxfile: str, installed: Installed | None) -> None:
    """Write the lock in *folder*: with what is installed, as far as the machinery allows that."""
    kept = {name: version for name, version in (installed.packages if installed else {}).items() if name not in _MLFLOW}
    reason = _locked(folder, noxfile, kept)
    if reason and kept:
        free = _machinery(folder)
        reason = _locked(folder, noxfile, {name: kept[name] for name in kept.keys() - free})
    if reason:
        fix = "change what the repository asks for (`mlflow` has to be 3.17.2), or what is installed, and try again"
        refuse("requirements", f"no lock has all of it: {reason}", fix)


def _locked(folder: Path, noxfile: str, kept: Mapping[str, str]) -> str | None:
    """Let the joined project lock itself, with the versions in *kept*; return why it cannot, None if it can."""
    with tempfile.TemporaryDirectory() as scratch:
        constraints = Path(scratch, "installed.txt")
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in kept.items()), "utf-8")
        command = [sys.executable, "-m", "nox", "-f", noxfile, "-s", "lock", "--", f"--constraints={constraints}"]
        done = _run(command, folder)
    said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("nox >")]
    return None if done.returncode == 0 else recordable(" ".join(" ".join(said).split())) or "nox gave no reason"


def _machinery(folder: Path) -> set[str]:
    """Return the names of the packages that the machinery needs, with all that they need."""
    done = _run(
        ["uv", "pip", "compile", "--quiet", "--no-annotate", "--no-header", f"{MACHINERY}/pyproject.toml"], folder
    )
    return {canonicalize_name(line.partition("==")[0]) for line in done.stdout.splitlines() if "==" in line}


def _run(command: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    env = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")} | {
        "PATH": beside
    }
    program = shutil.which(command[0], path=beside) or command[0]
    return subprocess.run(
        [program, *command[1:]], cwd=folder, env=env, capture_output=True, encoding="utf-8", check=False
    )
