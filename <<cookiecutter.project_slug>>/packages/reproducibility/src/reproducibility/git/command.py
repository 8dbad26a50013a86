"""A git command: run in one repository, whatever the user's environment and configuration say about git.

No command writes into a work tree or an index, unless its caller asks for that. `scratch_environment` lends a folder to
commands that need to write.
"""

import hashlib
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from ..errors import Refused, Violation, refuse

# Variables that only say where git and its configuration are. Every other GIT_* variable is dropped: inside a git hook
# GIT_DIR and GIT_INDEX_FILE point at another repository or at half a commit.
_KEPT = ("GIT_CONFIG_", "GIT_EXEC_PATH", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM")

# With other values these settings could hide an edit, change bytes, write to the repository or run other programs.
_PINNED = {
    "add.ignoreErrors": "false",
    "color.ui": "false",
    "core.autocrlf": "false",
    "core.checkStat": "default",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",  # git knows it on Windows too
    "core.ignoreStat": "false",
    "core.quotePath": "true",
    "core.safecrlf": "false",
    "core.sparseCheckout": "false",
    "core.splitIndex": "false",
    "core.trustctime": "true",
    "core.untrackedCache": "false",
    "diff.orderFile": "/dev/null",
    "diff.suppressBlankEmpty": "false",
}

# The variables by which this user reaches a remote. A remote that sends no byte for 30 seconds is unreachable, unless
# the user has a command of their own for ssh.
_REACHES = ("GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_ASKPASS", "GIT_SSL_CAINFO", "GIT_SSL_NO_VERIFY")
_BOUNDED = {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": "30"}
# Git prints an option that it does not know. No path that git prints has two slashes in a row.
_BETWEEN = "--//"
_BOUNDED_SSH = "ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=10 -o ServerAliveCountMax=3"


def git(folder: Path, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes that ``git <arguments>`` prints in *folder*. Pathspecs are literal.

    *environment* adds variables, such as those of `scratch_environment`. Raises Refused, with a fix, when git is
    missing, may not read the repository, or fails.
    """
    finished = _finished(folder, arguments, stdin, environment or {})
    if finished.returncode:
        raise Refused([_failure(folder, arguments[0], finished.stderr.decode("utf-8", "replace"))])
    return finished.stdout


def git_line(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Return what ``git <arguments>`` prints in *folder*, as text without its last line end; None if that is nothing.

    None also when git fails. Raises Refused when git is missing.
    """
    finished = _finished(folder, arguments, b"", environment or {})
    text = os.fsdecode(finished.stdout).removesuffix("\n")
    return text if finished.returncode == 0 and text else None


def readable_text(printed: str) -> str:
    """Return the text that git *printed*, with a replacement character for what is not UTF-8."""
    return os.fsencode(printed).decode("utf-8", "replace")


def commit_id(root: Path, name: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Return the id of the commit that *name* means in the repository at *root*; None if there is no such commit."""
    wanted = f"{name}^{{commit}}"
    return git_line(root, "rev-parse", "--verify", "--quiet", "--end-of-options", wanted, environment=environment)


def _finished(
    folder: Path, arguments: tuple[str, ...], stdin: bytes, environment: Mapping[str, str]
) -> CompletedProcess[bytes]:
    command = ["git", "--no-replace-objects", "--literal-pathspecs", "-C", str(folder)]
    for key, value in _PINNED.items():
        command += ["-c", f"{key}={value}"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(_KEPT)}
    clean |= {"LC_ALL": "C", "LANGUAGE": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"} | dict(environment)
    try:
        given = {"input": stdin} if stdin else {"stdin": subprocess.DEVNULL}
        return subprocess.run([*command, *arguments], **given, capture_output=True, env=clean, check=False)
    except OSError as error:
        problem = f"git could not be started ({error.strerror})"
        fix = "install git (https://git-scm.com/downloads) and see that `git --version` answers"
        refuse("git_commit", problem, fix)


def _failure(folder: Path, command: str, stderr: str) -> Violation:
    """Return the violation for what git printed on *stderr* when it failed."""
    if "dubious ownership" in stderr:
        named = re.search(r"repository at '(.+?)'", stderr)
        place = named[1] if named else str(folder)
        return Violation(
            "git_commit",
            f"git does not trust {place}, because it belongs to another user (dubious ownership)",
            f"run `git config --global --add safe.directory {shlex.quote(place)}`",
        )
    if "not a git repository" in stderr or "must be run in a work tree" in stderr:
        return Violation(
            "git_commit",
            f"{folder} is not in a git work tree, so no commit can say which code runs",
            "run `git init`, `git add --all` and `git commit` there, or work in a clone of the project",
        )
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    reason = next((line for line in lines if line.startswith(("fatal:", "error:"))), "it gave no reason")
    return Violation("git_commit", f"`git {command}` failed in {folder}: {reason}", "make `git status` work there")


def reaching(root: Path) -> dict[str, str]:
    """Return the variables for a git command that talks to a remote of the repository at *root*.

    The command has this user's access, and time limits.
    """
    own = {name: os.environ[name] for name in _REACHES if name in os.environ}
    # Git prefers GIT_SSH_COMMAND to the other two, which may name the key that opens the remote.
    if own.keys().isdisjoint({"GIT_SSH", "GIT_SSH_COMMAND"}) and not git_line(root, "config", "core.sshCommand"):
        own["GIT_SSH_COMMAND"] = _BOUNDED_SSH
    return _BOUNDED | own


@dataclass(frozen=True)
class WorkTree:
    """The work tree around a project.

    top: its uppermost folder. project: the project's folder in it, as a posix path, ``.`` for the top itself. objects,
    index: where the repository keeps these.
    """

    top: Path
    project: str
    objects: Path
    index: Path


def work_tree(root: Path) -> WorkTree:
    """Return the work tree around the project at *root*; raises Refused when *root* is in no work tree."""
    questions = ("--show-toplevel", _BETWEEN, "--show-prefix", _BETWEEN, "--git-path", "objects")
    answers = git(root, "rev-parse", *questions, _BETWEEN, "--git-path", "index").removesuffix(b"\n")
    top, folder, objects, index = os.fsdecode(answers).split(f"\n{_BETWEEN}\n")
    return WorkTree(Path(top), folder.rstrip("/") or ".", root / objects, root / index)


@contextmanager
def scratch_environment(tree: WorkTree) -> Iterator[dict[str, str]]:
    """Yield the variables with which git writes objects and index into a temporary folder; that index starts empty.

    Git still reads the objects of the repository of *tree*. (Git may renew the time of an object file that it would
    write again. That only keeps the object from being pruned.)
    """
    # Git splits this variable at colons, unless the path is in quotes.
    quoted = tree.objects.resolve().as_posix().replace("\\", "\\\\").replace('"', '\\"')
    with tempfile.TemporaryDirectory(prefix="git-") as folder:
        yield {
            "GIT_OBJECT_DIRECTORY": folder,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{quoted}"',
            "GIT_INDEX_FILE": str(Path(folder, "index")),
        }


def blob_id(content: bytes, like: str) -> str:
    """Return git's id for the unconverted *content*, made by the hash that made the id *like* (SHA-1 or SHA-256)."""
    algorithm = "sha1" if len(like) == 40 else "sha256"
    return hashlib.new(algorithm, b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


def bytes_on_disk(path: Path) -> bytes:
    """Return what git stores for *path* where nothing converts it: a file's bytes, or a symbolic link's target."""
    return os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()


def blob_sizes(top: Path, names: Iterable[str], environment: Mapping[str, str]) -> list[int]:
    """Return the size in bytes of each blob in *names*, in order. No blob is read."""
    lines = "".join(f"{name}\n" for name in names).encode()
    sizes = git(top, "cat-file", "--batch-check=%(objectsize)", stdin=lines, environment=environment)
    return [int(size) for size in sizes.split()]


def blobs(top: Path, names: Iterable[str], environment: Mapping[str, str]) -> dict[str, bytes]:
    """Return the content of each blob in *names*."""
    names = list(names)
    lines = "".join(f"{name}\n" for name in names).encode()
    output = git(top, "cat-file", "--batch=%(objectsize)", stdin=lines, environment=environment)
    contents, start = {}, 0
    for name in names:
        size, _, _ = output[start : start + 20].partition(b"\n")
        start += len(size) + 1
        contents[name] = output[start : start + int(size)]
        start += int(size) + 1
    return contents
