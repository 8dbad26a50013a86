"""Every task by its name: nox -s train, sweep, validate, checklist, reproduce, diff, server, update. All: `nox -l`"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nox

PYTHON = << cookiecutter.python_version | quoted >>
EXPERIMENT = "configs/experiment.yaml"
MACHINERY = "packages/reproducibility"
# Where nox came by pipx or from an environment that is not active, uv lies beside nox and not on PATH.
UV = "uv" if shutil.which("uv") else nox.virtualenv.UV
PYPROJECTS = ["pyproject.toml", f"{MACHINERY}/pyproject.toml"]
# Each lock: the files, groups and extras that it is compiled from, and the lock whose versions it must keep to. The
# server's lock keeps to none: nothing is trained on the server, and its client for S3 needs an older python-dateutil.
LOCKS = {
    "requirements.txt": ([*PYPROJECTS, "--group=build"], None),
    "requirements-dev.txt": ([*PYPROJECTS, "--group=build", "--group=dev"], "requirements.txt"),
    "requirements-sweep.txt": ([*PYPROJECTS, "--group=build", f"--group={PYPROJECTS[1]}:sweep"], "requirements.txt"),
    "requirements-server.txt": ([PYPROJECTS[1], "--extra=server", "--group=build"], None),
    "requirements-update.txt": ([PYPROJECTS[1], "--extra=update", "--group=build"], "requirements.txt"),
}

# Variables of uv in a user's shell may say from where packages come and where they are kept, and not what is installed.
UV_MAY_SAY = (
    *("UV_CACHE_DIR", "UV_CONCURRENT_", "UV_CREDENTIALS_DIR", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL"),
    *("UV_FIND_LINKS", "UV_HTTP_", "UV_INDEX", "UV_INSECURE_HOST", "UV_KEYRING_PROVIDER", "UV_LINK_MODE"),
    *("UV_NATIVE_TLS", "UV_NO_INDEX", "UV_NO_PROGRESS", "UV_OFFLINE", "UV_PYTHON_", "UV_SSL_", "UV_SYSTEM_CERTS"),
)
for variable in [each for each in os.environ if each.startswith("UV_") and not each.startswith(UV_MAY_SAY)]:
    del os.environ[variable]
# uv reads none of pip's variables. A shell that names its package index for pip only means the same index here.
if not any(name.startswith(("UV_DEFAULT_INDEX", "UV_EXTRA_INDEX", "UV_INDEX")) for name in os.environ):
    for pips, uvs in {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX"}.items():
        if os.environ.get(pips):
            os.environ[uvs] = os.environ[pips]

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"  # install the Python you chose: nox downloads none without being asked
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests"]


def install(session: nox.Session, lock: str, *where: str) -> None:
    """Install exactly what *lock* pins, with hashes checked, and then this project's packages in place.

    The server and an update run none of the project's own code, so their environments get only the machinery. *where*:
    options of uv that name another environment than the session's.
    """
    packages = [MACHINERY] if lock in ("requirements-server.txt", "requirements-update.txt") else [MACHINERY, "."]
    # A folder has no hash: --no-require-hashes is for users whose uv.toml asks for hashes everywhere.
    options = ["--quiet", *where, "--no-deps", "--no-build-isolation", "--no-require-hashes"]
    session.run_install(UV, "pip", "sync", "--quiet", *where, "--require-hashes", lock, external=True)
    session.run_install(UV, "pip", "install", *options, *(f"--editable={each}" for each in packages), external=True)


@nox.session(python=PYTHON)
def train(session: nox.Session) -> None:
    """Run an experiment and validate its run: nox -s train -- configs/experiment.yaml --set model.max_depth=3

    With --container the experiment runs in the image of the commit, which is built first if there is none.
    """
    install(session, "requirements.txt")
    options = list(session.posargs)
    config = EXPERIMENT if not options or options[0].startswith("-") else options.pop(0)
    # Python's hash seed can only be set before Python starts. Sets of text have the same order in every run then.
    session.run("python", "scripts/train.py", "--config", config, *options, env={"PYTHONHASHSEED": "0"})


@nox.session(python=PYTHON)
def data(session: nox.Session) -> None:
    """Fetch the data that is not in git, as data_source in configs/base.yaml says: nox -s data"""
    install(session, "requirements.txt")
    session.run("repro", "fetch", *session.posargs)


@nox.session(python=PYTHON)
def checklist(session: nox.Session) -> None:
    """Answer the review checklist for this commit and its run: nox -s checklist [-- --prove --run RUN_ID]"""
    install(session, "requirements.txt")
    session.run("repro", "checklist", *session.posargs)


@nox.session(python=PYTHON)
def reproduce(session: nox.Session) -> None:
    """Reproduce a recorded run from its id, and compare the results: nox -s reproduce -- RUN_ID [--container]"""
    install(session, "requirements.txt")
    session.run("repro", "reproduce", *session.posargs)


@nox.session(python=PYTHON)
def validate(session: nox.Session) -> None:
    """Check the tags, params and evidence of a recorded run: nox -s validate -- RUN_ID"""
    install(session, "requirements.txt")
    session.run("repro", "validate", *session.posargs)


@nox.session(python=PYTHON)
def diff(session: nox.Session) -> None:
    """Show in what two recorded runs differ, and why: nox -s diff -- last~1 last [--html page.html]"""
    install(session, "requirements.txt")
    # Status 1 says that the runs differ: an answer. With --results it says that their results differ: a failed check.
    session.run("repro", "diff", *session.posargs, success_codes=[0] if "--results" in session.posargs else [0, 1])


@nox.session(python=PYTHON)
def sweep(session: nox.Session) -> None:
    """Make many runs, with other values each: nox -s sweep -- configs/sweep.yaml [--jobs 2] [--resume] [--html FILE]

    With --scheduler tcp://HOST:8786 the workers of that Dask scheduler make them. docs/sweeps.md says how to
    start workers on other machines.
    """
    install(session, "requirements-sweep.txt")
    session.run("repro", "sweep", *session.posargs, env={"PYTHONHASHSEED": "0"})


@nox.session(python=PYTHON)
def image(session: nox.Session) -> None:
    """Build a container image that trains this commit anywhere: nox -s image [-- --snapshot] [--base IMAGE]"""
    install(session, "requirements.txt")
    session.run("repro", "image", *session.posargs)


@nox.session(python=PYTHON)
def tests(session: nox.Session) -> None:
    """Run the tests. One of them runs the sample experiment from end to end."""
    install(session, "requirements-dev.txt")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHON)
def lint(session: nox.Session) -> None:
    """Check style and likely mistakes, and change nothing; or repair what can be repaired: nox -s lint -- --fix"""
    if session.posargs not in ([], ["--fix"]):
        session.error("nox -s lint takes --fix and nothing else")
    install(session, "requirements-dev.txt")
    session.run("ruff", "check", ".", *session.posargs)
    session.run("ruff", "format", ".", *([] if session.posargs else ["--check"]))


def require_index(session: nox.Session, lock: str) -> None:
    """End the session if the text *lock* has a requirement that is not a version of a package in an index."""
    others = [line for line in lock.splitlines() if line[:1] not in ("", "#", " ") and not re.match(r"[^\s@]+==", line)]
    if others:
        names = ", ".join(line.partition(" @ ")[0] for line in others)
        session.error(
            f"{names}: from git, a folder or an address, and in no index that would keep it. Publish a wheel of it in "
            "a package index, or move its code into src/. No lock was changed."
        )


@nox.session(venv_backend="none")
def lock(session: nox.Session) -> None:
    """Pin what both pyproject.toml files ask for, with hashes, for every platform: nox -s lock [-- --upgrade]"""
    with tempfile.TemporaryDirectory() as folder:
        for name, (sources, kept_to) in LOCKS.items():
            made = Path(folder, name)
            if Path(name).exists():
                shutil.copyfile(name, made)  # uv keeps to the versions in it
            session.run(
                *[UV, "pip", "compile", *sources, "--output-file", str(made), "--quiet"],
                *["--universal", "--python-version", PYTHON, "--generate-hashes", "--no-annotate"],
                *["--custom-compile-command", "nox -s lock"],
                *([f"--constraints={Path(folder, kept_to)}"] if kept_to else []),
                *session.posargs,
                external=True,
            )
            require_index(session, made.read_text("utf-8"))
        for name in LOCKS:
            shutil.copyfile(Path(folder, name), name)


@nox.session(python=PYTHON)
def update(session: nox.Session) -> None:
    """Merge what the template has changed into a new branch: nox -s update [-- --check] [--to REF]

    This runs code of the template, as generating the project did.
    """
    install(session, "requirements-update.txt")
    session.run("repro", "update", *session.posargs)


@nox.session(venv_backend="none")
def dev(session: nox.Session) -> None:
    """Make .venv for the editor, notebooks and daily work, with the locked packages and this project."""
    make = [UV, "venv", "--quiet", "--allow-existing", "--no-python-downloads", "--python", PYTHON, ".venv"]
    session.run(*make, external=True)
    install(session, "requirements-dev.txt", "--python", ".venv")
    activate = r".venv\Scripts\activate" if sys.platform == "win32" else "source .venv/bin/activate"
    session.log(f"ready: {activate}")


@nox.session(python=PYTHON)
def ui(session: nox.Session) -> None:
    """Look at the runs in a browser: nox -s ui [-- --port 5001]"""
    install(session, "requirements-server.txt")
    session.run("repro", "ui", *session.posargs)


@nox.session(python=PYTHON)
def server(session: nox.Session) -> None:
    """Bring the team's tracking server up: nox -s server [-- down | backup DIR | restore DIR [--replace] | --embedded]

    With --embedded the server runs without containers, for one machine: nox -s server -- --embedded --port 5001
    """
    embedded = "--embedded" in session.posargs
    install(session, "requirements-server.txt" if embedded else "requirements.txt")
    session.run("repro", "server", *(["run"] if embedded else []), *session.posargs)
