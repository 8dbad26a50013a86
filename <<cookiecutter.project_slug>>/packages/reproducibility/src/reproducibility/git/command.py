"""A git command: run on one repository, deaf to the caller's environment and configuration, never writing to it."""

import hashlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from subprocess import CompletedProcess

from ..errors import Refused, Violation

# Everything else named GIT_* is dropped: inside a git hook GIT_DIR and GIT_INDEX_FILE point at another repository
# or at half a commit. These only say where git and its configuration are.
_KEPT = ("GIT_CONFIG_", "GIT_EXEC_PATH", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM")

# Settings of a user or machine that would hide an edit, change bytes, write to the repository or run other programs.
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


# How this user reaches a remote, which is away if no byte comes for half a minute.
_REACHES = ("GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_ASKPASS", "GIT_SSL_CAINFO", "GIT_SSL_NO_VERIFY")
_BOUNDED = {
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=10",
    "GIT_HTTP_LOW_SPEED_LIMIT": "1",
    "GIT_HTTP_LOW_SPEED_TIME": "30",
}


def git(folder: Path, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> bytes:
    """Return what ``git <arguments>`` prints in *folder*, to the byte. Pathspecs are literal.

    Raises Refused, saying what to do, when git is missing, is not allowed to read the repository, or fails.
    """
    finished = _finished(folder, arguments, stdin, environment or {})
    if finished.returncode:
        raise Refused([_failure(folder, arguments[0], finished.stderr.decode("utf-8", "replace"))])
    return finished.stdout


def reaching() -> dict[str, str]:
    """Return the environment of a git command that talks to a remote: as this user does, and with bounded patience."""
    return _BOUNDED | {name: os.environ[name] for name in _REACHES if name in os.environ}


def git_line(folder: Path, *arguments: str) -> str | None:
    """Return the one line that ``git <arguments>`` prints in *folder*; None when git fails or prints nothing.

    Raises Refused when git is missing.
    """
    finished = _finished(folder, arguments, b"", {})
    text = os.fsdecode(finished.stdout).removesuffix("\n")
    return text if finished.returncode == 0 and text else None


def _finished(
    folder: Path, arguments: tuple[str, ...], stdin: bytes, environment: Mapping[str, str]
) -> CompletedProcess[bytes]:
    command = ["git", "--no-replace-objects", "--literal-pathspecs", "-C", str(folder)]
    for key, value in _PINNED.items():
        command += ["-c", f"{key}={value}"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(_KEPT)}
    clean |= {"LC_ALL": "C", "LANGUAGE": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"} | dict(environment)
    try:
        return subprocess.run([*command, *arguments], input=stdin, capture_output=True, env=clean, check=False)
    except OSError as error:
        problem = f"git could not be started ({error.strerror})"
        fix = "install git (https://git-scm.com/downloads) and see that `git --version` answers"
        raise Refused([Violation("git_commit", problem, fix)]) from error


def _failure(folder: Path, command: str, stderr: str) -> Violation:
    """Return git's complaint as a violation with a way out."""
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
    told = next((line for line in lines if line.startswith(("fatal:", "error:"))), "it gave no reason")
    return Violation("git_commit", f"`git {command}` failed in {folder}: {told}", "make `git status` work there")


def blob_id(content: bytes, like: str) -> str:
    """Return the name git gives *content* stored as it is, in the hash of the name *like* (SHA-1 or SHA-256)."""
    algorithm = "sha1" if len(like) == 40 else "sha256"
    return hashlib.new(algorithm, b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


def bytes_on_disk(path: Path) -> bytes:
    """Return what git would keep for *path* if nothing converted it: a file's bytes, a symbolic link's target."""
    return os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()


def blob_sizes(top: Path, names: Iterable[str], environment: Mapping[str, str]) -> list[int]:
    """Return the size in bytes of each blob in *names*, in order, without reading one."""
    asked = "".join(f"{name}\n" for name in names).encode()
    answered = git(top, "cat-file", "--batch-check=%(objectsize)", stdin=asked, environment=environment)
    return [int(size) for size in answered.split()]


def blobs(top: Path, names: Iterable[str], environment: Mapping[str, str]) -> dict[str, bytes]:
    """Return the content of each blob in *names*."""
    names = list(names)
    asked = "".join(f"{name}\n" for name in names).encode()
    output = git(top, "cat-file", "--batch=%(objectsize)", stdin=asked, environment=environment)
    contents, start = {}, 0
    for name in names:
        size, _, _ = output[start : start + 20].partition(b"\n")
        start += len(size) + 1
        contents[name] = output[start : start + int(size)]
        start += int(size) + 1
    return contents
