"""Compose: the program that runs what compose.yaml describes, whichever of its names this machine has it under."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .project import PROJECT_ROOT
from .violation import Refused, Violation


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


def find() -> Compose:
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
