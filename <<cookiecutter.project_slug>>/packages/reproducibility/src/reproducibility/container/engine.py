"""The container engine: Docker or Podman, whichever this machine has, as a program that takes the same arguments."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from ..errors import Refused, Violation
from ..project import PROJECT_ROOT

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


def find_engine() -> Engine:
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


@dataclass(frozen=True)
class Compose:
    """The program that *command* starts; it works on the project's compose.yaml and .env."""

    command: tuple[str, ...]

    def answer(self, *arguments: str) -> str | None:
        """Return what it prints for a question, without its line end; None when it has no answer."""
        done = self._run(*arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None

    def do(self, *arguments: str) -> None:
        """Let it work, and show what it says meanwhile; raises Refused where it fails."""
        self._succeed(*arguments)

    def save(self, *arguments: str, into: Path) -> None:
        """Write what it prints to the new file *into*; raises Refused where it fails."""
        with into.open("xb") as file:
            self._succeed(*arguments, stdout=file)

    def feed(self, *arguments: str, source: Path) -> None:
        """Let it read the file *source*; raises Refused where it fails."""
        with source.open("rb") as file:
            self._succeed(*arguments, stdin=file)

    def _succeed(self, *arguments: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None) -> None:
        if status := self._run(*arguments, stdin=stdin, stdout=stdout).returncode:
            problem = f"`{' '.join([*self._names, *arguments[:5]])} …` ended with status {status}"
            raise Refused([Violation("compose", problem, "see what it said above")])

    def _run(
        self,
        *arguments: str,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | int | None = None,
        stderr: int | None = None,
    ) -> "subprocess.CompletedProcess[bytes]":
        command = [*self.command, *arguments]
        # An exec reads whatever it is given, the keyboard too.
        asked = subprocess.DEVNULL if stdin is None else stdin
        return subprocess.run(command, cwd=PROJECT_ROOT, check=False, stdin=asked, stdout=stdout, stderr=stderr)

    @property
    def _names(self) -> tuple[str, ...]:
        return (os.path.basename(self.command[0]), *self.command[1:])


def find_compose() -> Compose:
    """Return `docker compose`, else `docker-compose`, else `podman compose`; raises Refused when none answers.

    With CONTAINER_ENGINE, the one of that engine comes first.
    """
    wanted = os.environ.get("CONTAINER_ENGINE") or "docker"
    for name, *more in ([wanted, "compose"], ["docker-compose"], ["podman", "compose"]):
        if path := shutil.which(name):
            compose = Compose((path, *more))
            if compose.answer("version") is not None:
                return compose
    problem = "neither docker compose, docker-compose nor podman compose answers"
    fix = "install Docker's Compose plugin, or for one machine: nox -s server -- --embedded"
    raise Refused([Violation("compose", problem, fix)])
