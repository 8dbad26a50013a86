"""The container engine: Docker or Podman, whichever this machine has, as a program that takes the same arguments."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from .violation import Refused, Violation

_KNOWN = ("docker", "podman")


@dataclass(frozen=True)
class Engine:
    """The program at *path*."""

    path: str

    def answer(self, *arguments: str) -> str | None:
        """Return what the engine prints for a question, without its line end; None when it has no answer."""
        done = subprocess.run([self.path, *arguments], capture_output=True, encoding="utf-8", check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    def do(self, *arguments: str) -> None:
        """Let the engine work, and show what it says meanwhile; raises Refused where it fails."""
        if status := subprocess.run([self.path, *arguments], check=False).returncode:
            problem = f"`{os.path.basename(self.path)} {arguments[0]}` ended with status {status}"
            raise Refused([Violation("container engine", problem, "see what it said above")])

    def become(self, *arguments: str, environment: Mapping[str, str]) -> NoReturn:
        """Go on as the engine, with more variables: its status is this process's, and so are the signals it gets."""
        command, variables = [self.path, *arguments], os.environ | environment
        if os.name == "nt":  # a process cannot become another one there
            raise SystemExit(subprocess.run(command, env=variables, check=False).returncode)
        os.execve(self.path, command, variables)  # noqa: S606 - the shell is what it does without

    @property
    def is_rootless_podman(self) -> bool:
        """Whether it gives the caller's files to root in a container, unless it is told to keep the user."""
        return self.answer("info", "--format", "{{.Host.Security.Rootless}}") == "true"


def find() -> Engine:
    """Return the engine named by CONTAINER_ENGINE, else docker, else podman; raises Refused when none answers."""
    wanted = os.environ.get("CONTAINER_ENGINE")
    for name in [wanted] if wanted else _KNOWN:
        # Docker's program is often there without a daemon to talk to.
        if (path := shutil.which(name)) and (engine := Engine(path)).answer("info") is not None:
            return engine
    named = f"CONTAINER_ENGINE names {wanted!r}, which does not answer"
    problem = named if wanted else "docker or podman is needed, and neither answers"
    fix = "install or start Docker or Podman, or name the one you have in CONTAINER_ENGINE"
    raise Refused([Violation("container engine", problem, fix)])
