"""The workshop: a rendered project, and an environment for it and for each peer, all in one scratch folder."""

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import uv

from .stopwatch import require_success, say

TEMPLATE = Path(__file__).resolve().parent.parent
MACHINERY = "packages/reproducibility"

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
    """Everything is made when it is first asked for, and belongs to *folder*.

    smoke: only show that each benchmark runs: one round, little data, no peers. made: the programs of environments that
    are there already, by their names (child, sweep, bare, gated server). settings: more variables for what is measured.
    """

    def __init__(
        self,
        folder: Path,
        *,
        smoke: bool = False,
        made: Mapping[str, Path] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.smoke = smoke
        self.made = made or {}
        self.settings = settings or {}
        self.home = folder / "home"
        self.home.mkdir()

    def size(self, full: int, smoke: int = 1) -> int:
        """How many rounds, files, steps: *full*, or *smoke* where it only has to run."""
        return smoke if self.smoke else full

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
            **self.settings,
        }

    @property
    def child_env(self) -> dict[str, str]:
        """The same for the programs of the child, with the code of this project before any other."""
        code = [self.project / "src", self.project / MACHINERY / "src"]
        return self.env | {"PYTHONPATH": os.pathsep.join(map(str, code))}

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
        """The programs of the project's own environment: its lock, the machinery and the project."""
        return self._environment("child", "requirements.txt", MACHINERY, ".")

    @cached_property
    def sweep(self) -> Path:
        """The programs of an environment for sweeps, as `nox -s sweep` makes it."""
        return self._environment("sweep", "requirements-sweep.txt", MACHINERY, ".")

    @cached_property
    def bare(self) -> Path:
        """The same packages without the project, so that nothing of it takes part."""
        return self._environment("bare", "requirements.txt")

    @cached_property
    def server(self) -> Path:
        """The whole of MLflow, with its server."""
        return self._environment("server", "requirements-server.txt")

    @cached_property
    def gated_server(self) -> Path:
        """The same, with the machinery in it and so with the gate."""
        return self._environment("gated server", "requirements-server.txt", MACHINERY)

    def peer(self, name: str) -> Path:
        """The programs of a peer; raises MissingError where it cannot be installed."""
        if self.smoke:
            raise MissingError("left out")
        try:
            programs = self._new_environment(name)
            self._install(programs, "--compile-bytecode", *PEERS[name])
            return programs
        except RuntimeError as error:
            say(str(error))  # for who watches; the table is public and need not know where this machine looks
            raise MissingError(f"{' and '.join(PEERS[name])} cannot be installed here") from error

    def run(self, command: list[str | Path]) -> None:
        """Run a command to its end; raises RuntimeError with what it printed where it fails."""
        require_success(command, subprocess.run(command, env=self.env, check=False, capture_output=True, text=True))

    def _environment(self, name: str, lock: str, *packages: str) -> Path:
        """Make an environment of what the project's *lock* pins, with *packages* of the project in place."""
        if name in self.made:
            return self.made[name]
        programs = self._new_environment(name)
        compiled = [] if self.smoke else ["--compile-bytecode"]
        self._install(programs, *compiled, "--require-hashes", "--requirement", self.project / lock)
        in_place = [f"--editable={self.project / package}" for package in packages]
        if in_place:
            self._install(programs, "--no-deps", "--no-build-isolation", *in_place)
        return programs

    def _new_environment(self, name: str) -> Path:
        say(f"installing the environment `{name}`")
        folder = self.folder / "environments" / name
        self.run([uv.find_uv_bin(), "venv", "--quiet", "--python", sys.executable, folder])
        return folder / "bin"

    def _install(self, programs: Path, *what: str | Path) -> None:
        # With the home of whoever measures: there uv keeps what it once downloaded, and where it may look.
        command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", programs / "python", *what]
        env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        require_success(command, subprocess.run(command, env=env, check=False, capture_output=True, text=True))
