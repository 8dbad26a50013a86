"""The workshop: a rendered project, and an environment for it and for each peer, all in one scratch folder."""

import os
import subprocess
import sys
from functools import cached_property
from pathlib import Path

import uv

from .stopwatch import require_success, say

TEMPLATE = Path(__file__).resolve().parent.parent

# What each peer is measured in. The project and the server have locks of their own.
PEERS = {
    "dvc": ["dvc==3.67.1"],
    "generators": ["cookiecutter-data-science==2.3.0", "kedro==1.7.0"],
}
# What the machine says about itself, and must not say to what is measured.
OUTER = ("GIT_", "MLFLOW_", "COOKIECUTTER_", "DVC_", "KEDRO_", "NOX_", "XDG_CONFIG_", "PYTHON", "VIRTUAL_ENV", "AUTHOR")


class MissingError(Exception):
    """A peer cannot be measured here; the text says what is missing."""


class Workshop:
    """Everything is made when it is first asked for, and belongs to *folder*."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()

    @cached_property
    def env(self) -> dict[str, str]:
        """An environment with an empty home, no settings, and nobody's usage reports."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(OUTER)}
        env |= {"HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": str(self.home / "gitconfig")}
        # Loopback is no business of a proxy.
        return env | {
            "NO_PROXY": "127.0.0.1",
            "DO_NOT_TRACK": "1",
            "DVC_NO_ANALYTICS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    @cached_property
    def project(self) -> Path:
        """The project as the template gives it, hook included."""
        say("rendering the project")
        into = self.folder / "project"
        self.run(self.cookiecutter(into))
        (project,) = into.iterdir()
        return project

    @cached_property
    def package(self) -> str:
        (package,) = (self.project / "src").iterdir()
        return package.name

    def cookiecutter(self, into: Path, *options: str) -> list[str | Path]:
        """The command that renders the template into the folder *into*."""
        return [sys.executable, "-m", "cookiecutter", "--no-input", *options, "--output-dir", into, TEMPLATE]

    @cached_property
    def child(self) -> Path:
        """The programs of the project's own environment: its lock, and the project."""
        programs = self._environment("child", "--require-hashes", "--requirement", self.project / "requirements.txt")
        self._install(programs, "--no-deps", "--no-build-isolation", "--editable", self.project)
        return programs

    @cached_property
    def bare(self) -> Path:
        """The same packages without the project, so that nothing of it takes part."""
        return self._environment("bare", "--require-hashes", "--requirement", self.project / "requirements.txt")

    @cached_property
    def server(self) -> Path:
        """The whole of MLflow, with its server."""
        return self._environment(
            "server", "--require-hashes", "--requirement", self.project / "requirements-server.txt"
        )

    @cached_property
    def gated_server(self) -> Path:
        """The same, with the project in it and so with the gate."""
        lock = self.project / "requirements-server.txt"
        programs = self._environment("gated server", "--require-hashes", "--requirement", lock)
        self._install(programs, "--no-deps", "--no-build-isolation", "--editable", self.project)
        return programs

    def peer(self, name: str) -> Path:
        """The programs of a peer; raises MissingError where it cannot be installed."""
        try:
            return self._environment(name, *PEERS[name])
        except RuntimeError as error:
            say(str(error))  # for who watches; the table is public and need not know where this machine looks
            raise MissingError(f"{' and '.join(PEERS[name])} cannot be installed here") from error

    def run(self, command: list[str | Path]) -> None:
        """Run a command to its end; raises RuntimeError with what it printed where it fails."""
        require_success(command, subprocess.run(command, env=self.env, check=False, capture_output=True, text=True))

    def _environment(self, name: str, *requirements: str | Path) -> Path:
        say(f"installing the environment `{name}`")
        folder = self.folder / "environments" / name
        self.run([uv.find_uv_bin(), "venv", "--quiet", "--python", sys.executable, folder])
        programs = folder / "bin"
        self._install(programs, "--compile-bytecode", *requirements)
        return programs

    def _install(self, programs: Path, *what: str | Path) -> None:
        # With the home of whoever measures: there uv keeps what it once downloaded, and where it may look.
        command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", programs / "python", *what]
        env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        require_success(command, subprocess.run(command, env=env, check=False, capture_output=True, text=True))
