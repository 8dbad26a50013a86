"""Renders the template through Cookiecutter's command, and runs the rendered project in one shared environment."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import bytecode
import pytest
import uv
from filelock import FileLock
from needs import skip_without
from preloaded import Preloaded

TEMPLATE = Path(__file__).resolve().parent.parent
MACHINERY = "packages/reproducibility"
# Importing the machinery must leave nothing beside it: Cookiecutter would copy that into every project.
sys.pycache_prefix = sys.pycache_prefix or str(TEMPLATE / ".pytest_cache" / "bytecode")

# What the machine around the tests says about itself, and must not say to a child.
OUTER = ("GIT_", "MLFLOW_", "COOKIECUTTER_", "GITHUB_", "GITLAB_", "PYTEST_", "NOX_", "CI_", "XDG_CONFIG_")
OUTER += ("REPRODUCIBILITY_",)
OUTER_NAMES = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "AUTHOR", "EMAIL", "CI"}

# The files that take longest, which start first: a long one that starts last keeps one worker busy alone.
LONGEST = ("test_workflow", "test_server_deployment", "test_reproduce", "test_container", "test_checklist")
# What a test of the session `unit` does without: environments, servers, containers and trainings.
COSTLY = {"python", "server_python", "sweep_python", "bare_python", "engine_program"}

# The folders in the shared one for byte code, and for the environments of reproductions.
BYTECODE, CACHE = "bytecode", "cache"

collect_ignore = ["repositories"]  # their tests are theirs

Render = Callable[..., CompletedProcess[str]]
RunIn = Callable[..., CompletedProcess[str]]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "unit: needs no environment of a project, no server, container or training")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the session `unit`, and let the longest files start first."""
    for item in items:
        if not COSTLY & set(item.fixturenames) and not item.get_closest_marker("whole"):
            item.add_marker("unit")
    first = {name: position for position, name in enumerate(LONGEST)}
    items.sort(key=lambda item: min((first[name] for name in LONGEST if item.path.stem.startswith(name)), default=99))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what this machine lacks, with the way to get each of it, and how many tests it kept from running."""
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.getreports("skipped"))
    if reasons:
        terminalreporter.section("not run on this machine")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} test{'s' * (count != 1)}: {reason}")


@pytest.fixture(scope="session")
def template() -> Path:
    """The root of the template's repository."""
    return TEMPLATE


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of this test run."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def once(shared_folder: Path) -> Callable[[str, Callable[[Path], None]], Path]:
    """`once(name, make)`: the folder that the first worker to ask for it made; a failed attempt is made anew."""

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder, ready = shared_folder / name, shared_folder / f"{name}.ready"
        with FileLock(shared_folder / f"{name}.lock"):
            if not ready.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                ready.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def clean_env(tmp_path_factory: pytest.TempPathFactory, shared_folder: Path) -> dict[str, str]:
    """An environment in which nobody has said who they are: no git identity, no settings, an empty home."""
    home = tmp_path_factory.mktemp("home")
    env = {key: value for key, value in os.environ.items() if not key.startswith(OUTER) and key not in OUTER_NAMES}
    env |= {"HOME": str(home), "USERPROFILE": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    env |= {"GIT_CONFIG_GLOBAL": str(home / "gitconfig"), "PYTHONUTF8": "1"}
    # Away from the sources: the project that tests share is looked at to the last file. Kept: importing MLflow takes a
    # third of the time then, and there are hundreds of imports.
    env["PYTHONPYCACHEPREFIX"] = str(shared_folder / BYTECODE)
    # What `repro reproduce` installs for one lock is installed once for all tests.
    env["REPRODUCIBILITY_CACHE"] = str(shared_folder / CACHE)
    # The home is new, what was downloaded before is not.
    env["UV_CACHE_DIR"] = subprocess.check_output([uv.find_uv_bin(), "cache", "dir"], text=True).strip()
    return env


@pytest.fixture(scope="session")
def render(clean_env: dict[str, str]) -> Render:
    """`render(answers, into, *options, env=None, source=TEMPLATE)` runs `cookiecutter --no-input` and returns it.

    `into` is made where it is missing; the rendered project is a folder in it. `env` adds to the clean environment.
    """

    def rendered(
        answers: Mapping[str, str],
        into: Path,
        *options: str,
        env: Mapping[str, str] | None = None,
        source: Path | str = TEMPLATE,
    ) -> CompletedProcess[str]:
        into.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "cookiecutter", "--no-input", *options, "--output-dir", str(into), str(source)]
        return subprocess.run(
            [*command, *(f"{question}={answer}" for question, answer in answers.items())],
            env=clean_env | dict(env or {}),
            check=False,
            cwd=into,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
        )

    return rendered


@pytest.fixture(scope="session")
def project(once: Callable[[str, Callable[[Path], None]], Path], render: Render) -> Path:
    """The project as `cookiecutter --no-input` gives it. Many tests share it: look, and change nothing."""

    def make(folder: Path) -> None:
        done = render({}, folder)
        assert done.returncode == 0, done.stdout + done.stderr

    (project,) = once("project", make).iterdir()
    return project


@pytest.fixture
def fresh_project(project: Path, tmp_path: Path) -> Path:
    """A copy of the project, with its history, to change at will."""
    return Path(shutil.copytree(project, tmp_path / project.name, symlinks=True))


@pytest.fixture(scope="session")
def python(once: Callable[[str, Callable[[Path], None]], Path], project: Path, shared_folder: Path) -> Path:
    """The Python of an environment with the project's own lock, tests included, and the project itself installed.

    The packages are compiled in this environment, and every other one uses that byte code.
    """

    def make(folder: Path) -> None:
        install(folder, project, "requirements-dev.txt", MACHINERY, ".")
        # Not above: only with the prefix set there does an import of the machinery leave nothing beside it.
        from reproducibility.reproduce.environment import locked_environment

        # What a first `repro reproduce` would install. With other locks, test_reproduce_environment.py lets it do so.
        lock, environments = (project / "requirements.txt").read_bytes(), shared_folder / CACHE / "environments"
        with locked_environment(lock, python_of(folder / "venv"), environments) as installed:
            bytecode.join(shared_folder / BYTECODE, folder / "venv", installed.parent.parent)

    return python_of(once("environment", make) / "venv")


@pytest.fixture(scope="session")
def share_bytecode(python: Path, shared_folder: Path) -> Callable[[Path], None]:
    """`share_bytecode(environment)` before anything runs in an environment: it uses the byte code of `python`."""
    return partial(bytecode.join, shared_folder / BYTECODE, python.parent.parent)


@pytest.fixture(scope="session")
def server_python(
    once: Callable[[str, Callable[[Path], None]], Path], project: Path, share_bytecode: Callable[[Path], None]
) -> Path:
    """The Python of an environment for the tracking server, the project installed, as on the team's server."""

    def make(folder: Path) -> None:
        install(folder, project, "requirements-server.txt", MACHINERY)
        share_bytecode(folder / "venv")

    return python_of(once("server", make) / "venv")


@pytest.fixture(scope="session")
def sweep_python(
    once: Callable[[str, Callable[[Path], None]], Path], project: Path, share_bytecode: Callable[[Path], None]
) -> Path:
    """The Python of an environment for sweeps, the project installed, as `nox -s sweep` makes it."""

    def make(folder: Path) -> None:
        install(folder, project, "requirements-sweep.txt", MACHINERY, ".")
        share_bytecode(folder / "venv")

    return python_of(once("sweep", make) / "venv")


@pytest.fixture(scope="session")
def bare_python(
    once: Callable[[str, Callable[[Path], None]], Path], project: Path, share_bytecode: Callable[[Path], None]
) -> Path:
    """The Python of somebody who has MLflow and has never heard of the project."""

    def make(folder: Path) -> None:
        install(folder, project, "requirements.txt")
        share_bytecode(folder / "venv")

    return python_of(once("bare", make) / "venv")


def install(folder: Path, project: Path, lock: str, *packages: str) -> None:
    """Make an environment in *folder* with what the project's *lock* pins, and with *packages* of its, in place."""
    installer = uv.find_uv_bin()
    env = {key: value for key, value in os.environ.items() if key not in OUTER_NAMES}
    wanted = [["--require-hashes", "--requirement", str(project / lock)]]
    if packages:
        wanted.append(["--no-deps", "--no-build-isolation", *(f"--editable={project / each}" for each in packages)])
    subprocess.run([installer, "venv", "--quiet", "--python", sys.executable, folder / "venv"], env=env, check=True)
    for what in wanted:
        options = ["--quiet", "--python", str(python_of(folder / "venv"))]
        command = [installer, "pip", "install", *options, *what]
        subprocess.run(command, env=env, check=True)


@pytest.fixture(scope="session")
def engine_program() -> str:
    """The path of Docker or Podman, whichever a user of this machine has."""
    wanted = os.environ.get("CONTAINER_ENGINE")
    for program in filter(None, map(shutil.which, [wanted] if wanted else ["docker", "podman"])):
        if subprocess.run([program, "info"], capture_output=True, check=False).returncode == 0:
            return program
    skip_without("engine", f"CONTAINER_ENGINE is {wanted!r}" if wanted else "")


def code_of(project: Path) -> str:
    """Return the PYTHONPATH with which a copy of the project runs its own code and machinery."""
    return os.pathsep.join([str(project / "src"), str(project / MACHINERY / "src")])


def python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@pytest.fixture(scope="session")
def preloaded(python: Path, clean_env: dict[str, str], shared_folder: Path) -> Iterator[Preloaded | None]:
    """The process that forks for commands of the shared environment; None where processes cannot fork."""
    if not hasattr(os, "fork"):
        yield None
        return
    with FileLock(shared_folder / "preloaded.lock"):  # what the first worker compiles, the next one finds
        process = Preloaded(python, clean_env)
    yield process
    process.close()


@pytest.fixture(scope="session")
def run_in(python: Path, clean_env: dict[str, str], preloaded: Preloaded | None) -> RunIn:
    """`run_in(project, *argv, env=None, check=False, fresh=False, **options)` runs a command in the shared environment.

    The project's own code and machinery come first, so that a copy runs what it holds. Output is captured as text.
    `env` adds to the clean environment; a value of None takes a variable away. `options` go to `subprocess.run`. A fork
    of `preloaded` stands in for a new process where both do the same; with `fresh` it never does. `fork_of` names
    another process to fork, which was started with the variables that Python reads at its start.
    """

    def ran(
        project: Path,
        *argv: str | Path,
        env: Mapping[str, str | None] | None = None,
        check: bool = False,
        fresh: bool = False,
        fork_of: Preloaded | None = None,
        **options: Any,
    ) -> CompletedProcess[str]:
        path = os.pathsep.join([str(python.parent), clean_env["PATH"]])
        wanted = clean_env | {"PATH": path, "PYTHONPATH": code_of(project)} | dict(env or {})
        wanted = {key: value for key, value in wanted.items() if value is not None}
        command = [shutil.which(str(argv[0]), path=wanted.get("PATH")) or str(argv[0]), *map(str, argv[1:])]
        process = fork_of or preloaded
        is_plain = options.keys() <= {"timeout", "cwd", "encoding"} and Path(command[0]).parent == python.parent
        if is_plain and not fresh and process is not None and process.can_run(command, wanted):
            options = {"cwd": project, "timeout": None} | options
            done = process.run(command, env=wanted, **options)
            if done is not None:
                if check:
                    done.check_returncode()
                return done
        options = {"capture_output": True, "encoding": "utf-8", "cwd": project, "stdin": subprocess.DEVNULL} | options
        return subprocess.run(command, env=wanted, check=check, **options)

    return ran
