"""The tasks of reproducible runs: nox -s train, validate, reproduce, diff, audit, lock, dev. All: `nox -l`"""

import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

import nox

PYTHON = "3.11"
# What `nox -s train` runs by default.
TRAIN = ["train.py"]
# The files that name what your code asks for. requirements.txt is the lock that is made from them.
SOURCES = ["requirements.in"]
# Installed from their folders, beside the packages of the lock.
PACKAGES = ["packages/reproducibility"]
MACHINERY = "packages/reproducibility/pyproject.toml"
LOCK = "requirements.txt"

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["audit"]


def install(session: nox.Session, *where: str) -> None:
    """Install exactly what the lock pins, with hashes checked, and then PACKAGES in place."""
    options = ["--quiet", *where, "--no-deps", "--no-build-isolation", "--no-require-hashes"]
    session.run_install("uv", "pip", "sync", "--quiet", *where, "--require-hashes", LOCK, external=True)
    session.run_install("uv", "pip", "install", *options, *(f"--editable={each}" for each in PACKAGES), external=True)


@nox.session(python=PYTHON)
def train(session: nox.Session) -> None:
    """Start a script of yours, with its own arguments: nox -s train -- train.py 0.5"""
    install(session)
    # Python's hash seed can only be set before Python starts. Sets of text have the same order in every run then.
    session.run("python", *(session.posargs or TRAIN), env={"PYTHONHASHSEED": "0"})


@nox.session(python=PYTHON)
def audit(session: nox.Session) -> None:
    """Tell for every run whether it could be made again, why not, and the share that complies, week by week."""
    install(session)
    session.run("repro", "audit", *session.posargs)


@nox.session(python=PYTHON)
def validate(session: nox.Session) -> None:
    """Check the tags, params and evidence of a recorded run: nox -s validate -- RUN_ID"""
    install(session)
    session.run("repro", "validate", *session.posargs)


@nox.session(python=PYTHON)
def reproduce(session: nox.Session) -> None:
    """Reproduce a recorded run from its id, and compare the results: nox -s reproduce -- RUN_ID"""
    install(session)
    session.run("repro", "reproduce", *session.posargs)


@nox.session(python=PYTHON)
def diff(session: nox.Session) -> None:
    """Show in what two recorded runs differ, and why: nox -s diff -- last~1 last"""
    install(session)
    session.run("repro", "diff", *session.posargs, success_codes=[0, 1])


@nox.session(python=PYTHON)
def checklist(session: nox.Session) -> None:
    """Answer the review checklist for this commit and its run: nox -s checklist [-- --prove]"""
    install(session)
    session.run("repro", "checklist", *session.posargs)


def builders() -> list[str]:
    """Return what builds this project when it is installed, if it is a package: the lock has that too."""
    if "." not in PACKAGES:
        return []
    file = Path("pyproject.toml")
    build = tomllib.loads(file.read_text("utf-8")).get("build-system", {}) if file.exists() else {}
    return build.get("requires", ["setuptools"])


@nox.session(venv_backend="none")
def lock(session: nox.Session) -> None:
    """Pin what SOURCES ask for, with hashes, for every platform: nox -s lock [-- --upgrade]"""
    with tempfile.TemporaryDirectory() as folder:
        made, built = Path(folder, LOCK), Path(folder, "build.in")
        built.write_text("".join(f"{each}\n" for each in builders()), "utf-8")
        if Path(LOCK).exists():
            shutil.copyfile(LOCK, made)  # uv keeps to the versions in it
        session.run(
            *["uv", "pip", "compile", *SOURCES, MACHINERY, str(built), "--group", f"{MACHINERY}:build"],
            *["--output-file", str(made), "--quiet", "--universal", "--python-version", PYTHON],
            *["--generate-hashes", "--no-annotate", "--custom-compile-command", "nox -s lock"],
            *session.posargs,
            external=True,
        )
        lines = made.read_text("utf-8").splitlines()
        if others := [line for line in lines if line[:1] not in ("", "#", " ") and not re.match(r"[^\s@]+==", line)]:
            names = ", ".join(line.partition(" @ ")[0] for line in others)
            session.error(f"{names}: from git, a folder or an address. A lock has only packages of an index.")
        shutil.copyfile(made, LOCK)


@nox.session(venv_backend="none")
def dev(session: nox.Session) -> None:
    """Make .venv for the editor and daily work, with the locked packages and PACKAGES."""
    make = ["uv", "venv", "--quiet", "--allow-existing", "--no-python-downloads", "--python", PYTHON, ".venv"]
    session.run(*make, external=True)
    install(session, "--python", ".venv")
    session.log("ready: " + (r".venv\Scripts\activate" if sys.platform == "win32" else "source .venv/bin/activate"))
