"""Where a project's template comes from: its address and its commit, which the project notes for a later update."""

import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
# What decides on the files of a project: with changes in these, no commit gives the same project again.
RENDERED = ("*cookiecutter.project_slug*", "cookiecutter.json", "local_extensions.py", "template_origin.py")


class Origin(NamedTuple):
    """Empty texts stand for what is unknown.

    address: where git fetches the template from, without credentials. commit: the full id.
    """

    address: str
    commit: str


@cache
def origin() -> Origin:
    """Return the origin of this template; its commit is empty if the template was changed after that commit."""
    top = git("rev-parse", "--show-prefix", "HEAD").split("\n")
    if len(top) != 2 or top[0]:  # no repository, no commit, or a folder of a bigger repository
        return Origin("", "")
    changed = git("status", "--porcelain", "--", *RENDERED)
    return Origin(without_credentials(git("config", "--get", "remote.origin.url")), "" if changed else top[1])


def git(*arguments: str) -> str:
    """Return what git prints about this template, without the last line end; nothing if git fails or is missing."""
    # A variable such as GIT_DIR would name another repository.
    env = {name: value for name, value in os.environ.items() if name[:4] != "GIT_" or name.startswith("GIT_CONFIG_")}
    env["GIT_OPTIONAL_LOCKS"] = "0"
    command = ["git", "-C", str(HERE), "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(command, env=env, check=False, capture_output=True, encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return done.stdout.removesuffix("\n") if done.returncode == 0 else ""


def without_credentials(address: str) -> str:
    """Return *address* without password, query and fragment; only an address of ssh keeps its user."""
    scheme, separator, rest = address.partition("://")
    if not separator:  # a folder, or user@host:path
        return re.sub(r"^[^/\\@:]*:[^/\\@]+@", "", address)
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" not in authority and re.search(r":(?!\d*$)", authority):  # a password that has one of these characters
        authority = rest
    user, _, host = authority.rpartition("@")
    path = re.split(r"[?#]", rest[len(authority) :], maxsplit=1)[0]
    name = user.partition(":")[0]
    return f"{scheme}://{name}@{host}{path}" if name and "ssh" in scheme else f"{scheme}://{host}{path}"
