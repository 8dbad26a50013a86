"""Every task of the template: nox -s demo, join, tests, unit, lint, lock, compat, picture, bench. All: `nox -l`"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

HERE = Path(__file__).resolve().parent
LOCK = "requirements.txt"
PROJECT = HERE / "<<cookiecutter.project_slug>>"
PYTHONS = json.loads((HERE / "cookiecutter.json").read_text("utf-8"))["python_version"]

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests"]


def install(session: nox.Session, lock: str = LOCK) -> None:
    """Make the session's environment exactly what *lock* says, hashes checked."""
    session.run_install("uv", "pip", "sync", "--quiet", "--require-hashes", lock, external=True)


@nox.session
def demo(session: nox.Session) -> None:
    """Generate a project beside this folder and run its sample experiment: nox -s demo [-- FOLDER]"""
    install(session)
    # Not inside: the project is to be a git repository of its own.
    folder = Path(session.posargs[0]).resolve() if session.posargs else HERE.parent
    project = folder / "penguin-classifier"
    if project.exists():
        session.log(f"{project} is there already: running its sample experiment again")
    else:
        running = f"{sys.version_info.major}.{sys.version_info.minor}"
        python = [f"python_version={running}"] if running in PYTHONS else []
        folder.mkdir(parents=True, exist_ok=True)
        session.run("cookiecutter", "--no-input", "--output-dir", str(folder), str(HERE), *python)
    with session.chdir(project):
        session.run("nox", "-s", "train")
    session.log(f"the project is in {project}; its README says what to do next")


@nox.session
def join(session: nox.Session) -> None:
    """Let an existing repository with MLflow join: nox -s join -- PATH [--apply]. docs/join.md says what it gets."""
    install(session, str(PROJECT / "requirements-dev.txt"))
    path = [str(HERE), str(PROJECT / "packages" / "reproducibility" / "src")]
    session.run("python", "-m", "join", *session.posargs, env={"PYTHONPATH": os.pathsep.join(path)})


@nox.session
def tests(session: nox.Session) -> None:
    """Render the template, run the sample experiment of what comes out end to end, and attack both."""
    install(session)
    session.run("pytest", *([] if session.posargs else ["-n", "2"]), *session.posargs)


@nox.session
def unit(session: nox.Session) -> None:
    """Run the tests that need no environment of a project, server, container or training: for the daily loop."""
    install(session)
    session.run("pytest", "-m", "unit", *([] if session.posargs else ["-n", "2"]), *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check the template's code and the machinery; changes nothing. The tests run a project's own lint for the rest."""
    install(session)
    for place in (HERE, PROJECT / "packages" / "reproducibility"):
        session.run("ruff", "check", str(place))
        session.run("ruff", "format", "--check", str(place))


@nox.session
def lock(session: nox.Session) -> None:
    """Pin what the template and its projects ask for: nox -s lock [-- --upgrade]"""
    install(session)
    session.run(
        *["uv", "pip", "compile", "pyproject.toml", "--group", "test", "--output-file", LOCK, "--quiet"],
        *["--universal", "--python-version", PYTHONS[0], "--generate-hashes", "--no-annotate"],
        *["--custom-compile-command", "nox -s lock"],
        *session.posargs,
    )
    with tempfile.TemporaryDirectory() as folder:
        # A project locks itself with the same session that its owners use, for the oldest Python it can be asked for.
        session.run("cookiecutter", "--no-input", "--output-dir", folder, str(HERE), f"python_version={PYTHONS[0]}")
        (project,) = Path(folder).iterdir()
        with session.chdir(project):
            session.run("nox", "-s", "lock", "--", *session.posargs)
        for made in project.glob("requirements*.txt"):
            shutil.copyfile(made, PROJECT / made.name)


@nox.session
def compat(session: nox.Session) -> None:
    """Show what the machinery relies on and another MLflow does not have: nox -s compat -- 3.18.0"""
    if len(session.posargs) != 1:
        session.error("name one version of MLflow: nox -s compat -- 3.18.0")
    session.run_install("uv", "pip", "install", "--quiet", f"mlflow[auth]=={session.posargs[0]}", external=True)
    session.run("python", "tests/mlflow_difference.py", shutil.which("python", path=session.bin))


@nox.session
def picture(session: nox.Session) -> None:
    """Draw the checklist that the README of every project shows, of a new project's first run."""
    install(session)
    drawn = PROJECT / "docs" / "checklist.svg"
    with tempfile.TemporaryDirectory() as folder:
        session.run("cookiecutter", "--no-input", "--output-dir", folder, str(HERE), f"python_version={PYTHONS[0]}")
        (project,) = Path(folder).iterdir()
        with session.chdir(project):
            session.run("nox", "-s", "train")
            # That nobody can fetch its commit yet is what a new project is told.
            session.run("nox", "-s", "checklist", "--", "--prove", "--svg", str(drawn), success_codes=[1])


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against peers and limits, and write benchmarks/RESULTS.md: takes an hour and 3 GB of scratch space.

    nox -s bench -- gate start measures these parts anew and leaves the others as they are.
    nox -s bench -- --smoke only shows that each benchmark still runs: once, on little data, and nothing is written.
    """
    install(session)
    session.run("python", "-m", "benchmarks", *session.posargs)
