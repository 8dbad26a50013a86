"""The container engine (Docker or Podman) and Compose, whichever this machine has, as programs to ask and to run."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from ..errors import refuse
from ..project import PROJECT_ROOT

# What a program reads: an open file, the terminal (None), or nothing (subprocess.DEVNULL).
Source = IO[bytes] | int | None


@dataclass(frozen=True)
class Program:
    """A program, started with the words of *command* in the project: ``docker``, or ``docker compose``."""

    command: tuple[str, ...]

    def answer(self, *arguments: str) -> str | None:
        """Return what the program prints, without its line end; None when it fails. Its messages are hidden."""
        done = self._run(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None

    def do(self, *arguments: str) -> None:
        """Run the program and show what it prints; raises Refused when it fails."""
        self._succeed(arguments)

    def save(self, *arguments: str, into: Path) -> None:
        """Write what the program prints to the new file *into*; raises Refused when it fails."""
        with into.open("xb") as file:
            self._succeed(arguments, stdout=file)

    def feed(self, *arguments: str, source: Path) -> None:
        """Run the program with the file *source* as its input; raises Refused when it fails."""
        with source.open("rb") as file:
            self._succeed(arguments, stdin=file)

    def become(self, *arguments: str, environment: Mapping[str, str]) -> NoReturn:
        """Replace this process by the program, with more variables: the program's status and signals are its own."""
        command, variables = [*self.command, *arguments], os.environ | environment
        if os.name == "nt":  # a process cannot become another one there
            raise SystemExit(subprocess.run(command, env=variables, check=False).returncode)
        os.execve(command[0], command, variables)  # noqa: S606 - no shell is wanted

    @property
    def is_rootless_podman(self) -> bool:
        """Whether this is Podman without root rights. By default its containers give files of the caller to root."""
        return self.answer("info", "--format", "{{.Host.Security.Rootless}}") == "true"

    def _succeed(self, arguments: tuple[str, ...], stdin: Source = subprocess.DEVNULL, stdout: Source = None) -> None:
        if status := self._run(arguments, stdin=stdin, stdout=stdout).returncode:
            name, *words = self.command
            words = [os.path.basename(name), *words]
            problem = f"`{' '.join([*words, *arguments[:5]])} …` ended with status {status}"
            refuse(" ".join(words), problem, "see what it printed above")

    def _run(
        self,
        arguments: tuple[str, ...],
        stdin: Source = subprocess.DEVNULL,  # `compose exec` would read the keyboard
        stdout: Source = None,
        stderr: int | None = None,
    ) -> "subprocess.CompletedProcess[bytes]":
        command = [*self.command, *arguments]
        return subprocess.run(command, cwd=PROJECT_ROOT, check=False, stdin=stdin, stdout=stdout, stderr=stderr)


def find_engine() -> Program:
    """Return the engine named by CONTAINER_ENGINE, else docker, else podman; raises Refused when none answers."""
    wanted = os.environ.get("CONTAINER_ENGINE")
    # Docker's program is often there without a daemon to talk to.
    if (engine := _first([[wanted]] if wanted else [["docker"], ["podman"]], "info")) is not None:
        return engine
    named = f"CONTAINER_ENGINE names {wanted!r}, which does not answer"
    problem = named if wanted else "docker or podman is needed, and neither answers"
    fix = "install or start Docker or Podman, or name the one you have in CONTAINER_ENGINE"
    refuse("container engine", problem, fix)


def find_compose() -> Program:
    """Return `docker compose`, else `docker-compose`, else `podman compose`; raises Refused when none answers.

    With CONTAINER_ENGINE, the Compose of that engine comes first.
    """
    wanted = os.environ.get("CONTAINER_ENGINE") or "docker"
    compose = _first(([wanted, "compose"], ["docker-compose"], ["podman", "compose"]), "version")
    if compose is not None:
        return compose
    problem = "neither docker compose, docker-compose nor podman compose answers"
    fix = "install Docker's Compose plugin, or for one machine: nox -s server -- --embedded"
    refuse("compose", problem, fix)


def _first(commands: Iterable[list[str]], question: str) -> Program | None:
    """Return the first of *commands* that is installed and answers *question*."""
    for name, *words in commands:
        if (path := shutil.which(name)) and (program := Program((path, *words))).answer(question) is not None:
            return program
    return None
