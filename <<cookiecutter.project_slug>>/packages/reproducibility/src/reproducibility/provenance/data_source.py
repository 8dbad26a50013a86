"""The source of data that is not in git: how it is fetched, and whether this machine may fetch it."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..config.loader import load_section
from ..config.values import Section
from ..display import listed, say
from ..errors import refuse
from ..project import BASE_CONFIG, PROJECT_ROOT

_KEY = "data_source.fetch"


class DataSource(Section):
    """The section ``data_source`` of configs/base.yaml.

    fetch: a program and its arguments; empty if the data is in git. login: variables that the program needs to be set.
    """

    fetch: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    login: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], ...] = ()


@dataclass(frozen=True)
class Fetched:
    """Whether the data could be fetched, and a sentence that says what was done or is missing."""

    here: bool
    message: str


def fetch() -> Fetched:
    """Run the command that ``data_source`` names in the project's root, if its login is in the environment.

    The command is started without a shell. Raises Refused when its program is missing or fails.
    """
    source = load_section(BASE_CONFIG, "data_source", DataSource)
    if not source.fetch:
        return Fetched(True, "The data is in git: data_source.fetch in configs/base.yaml names no command.")
    if missing := [name for name in source.login if not os.environ.get(name)]:
        is_are = "is" if len(missing) == 1 else "are"
        problem = f"The data is not here, and this machine has no login to fetch it: {listed(missing)} {is_are} empty."
        return Fetched(False, f"{problem} GitHub gives no secrets to forks and Dependabot.")
    if (program := shutil.which(source.fetch[0])) is None:
        refuse(_KEY, f"there is no program {source.fetch[0]!r}", "install it, or correct the name in configs/base.yaml")
    say(f"fetching the data with {source.fetch[0]} ...")
    done = subprocess.run([program, *source.fetch[1:]], cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        refuse(_KEY, f"{source.fetch[0]} ended with status {done.returncode}", "see what it printed above")
    return Fetched(True, f"The data was fetched with {source.fetch[0]}.")


def tell_step(fetched: Fetched, output: Path) -> None:
    """Append to *output*, the file of GITHUB_OUTPUT, whether the data is here or absent."""
    with output.open("a", encoding="utf-8") as file:
        file.write(f"data={'here' if fetched.here else 'absent'}\n")
