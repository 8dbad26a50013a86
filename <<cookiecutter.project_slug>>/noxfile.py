"""Every task by its name: nox -s train, validate, checklist, reproduce, diff, server, tests, lint. All: `nox -l`"""

import sys
import webbrowser

import nox

PYTHON = << cookiecutter.python_version | quoted >>
EXPERIMENT = "configs/experiment.yaml"
MACHINERY = "packages/reproducibility"
ASKED = ["pyproject.toml", f"{MACHINERY}/pyproject.toml"]
# Each lock: what asks for its packages, and the lock whose pins it takes over. The server takes over none: nothing is
# trained there, and its client for S3 wants an older python-dateutil.
LOCKS = {
    "requirements.txt": ([*ASKED, "--group=build"], None),
    "requirements-dev.txt": ([*ASKED, "--group=build", "--group=dev"], "requirements.txt"),
    "requirements-server.txt": ([ASKED[1], "--extra=server", "--group=build"], None),
}

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"  # nothing is fetched behind your back: install the Python you chose
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests"]


def install(session: nox.Session, lock: str, *where: str) -> None:
    """Make the environment exactly what *lock* says, hashes checked, plus the packages of this project in place.

    The server runs without the project's own code: its environment gets the machinery alone.
    """
    uv_pip = ["uv", "pip"]
    session.run_install(*uv_pip, "sync", "--quiet", *where, "--require-hashes", lock, external=True)
    packages = [MACHINERY] if lock == "requirements-server.txt" else [MACHINERY, "."]
    editable = ["--no-deps", "--no-build-isolation", *(f"--editable={package}" for package in packages)]
    session.run_install(*uv_pip, "install", "--quiet", *where, *editable, external=True)


@nox.session(python=PYTHON)
def train(session: nox.Session) -> None:
    """Run an experiment and validate its run: nox -s train -- configs/experiment.yaml --set model.max_depth=3

    With --container it runs in the image of the commit, which is built if need be.
    """
    install(session, "requirements.txt")
    options = list(session.posargs)
    config = EXPERIMENT if not options or options[0].startswith("-") else options.pop(0)
    # Python's own hash seed can only be set before it starts; with it, sets of text are in the same order in every run.
    session.run("python", "scripts/train.py", "--config", config, *options, env={"PYTHONHASHSEED": "0"})


@nox.session(python=PYTHON)
def checklist(session: nox.Session) -> None:
    """Ask the review checklist of this commit and its run, with evidence: nox -s checklist [-- --prove --run RUN_ID]"""
    install(session, "requirements.txt")
    session.run("repro", "checklist", *session.posargs)


@nox.session(python=PYTHON)
def reproduce(session: nox.Session) -> None:
    """Make a recorded run again from its id, and compare the two: nox -s reproduce -- RUN_ID [--container]"""
    install(session, "requirements.txt")
    session.run("repro", "reproduce", *session.posargs)


@nox.session(python=PYTHON)
def validate(session: nox.Session) -> None:
    """Check a recorded run by its id, its tags, params and evidence: nox -s validate -- RUN_ID"""
    install(session, "requirements.txt")
    session.run("repro", "validate", *session.posargs)


@nox.session(python=PYTHON)
def diff(session: nox.Session) -> None:
    """Say why two recorded runs differ, and in what: nox -s diff -- last~1 last [--html page.html]"""
    install(session, "requirements.txt")
    # That two runs differ is an answer; that not the same came out, to somebody who asks for that, is a failure.
    session.run("repro", "diff", *session.posargs, success_codes=[0] if "--results" in session.posargs else [0, 1])


@nox.session(python=PYTHON)
def image(session: nox.Session) -> None:
    """Build a container image of the commit, which trains it anywhere: nox -s image [-- --snapshot] [--base IMAGE]"""
    install(session, "requirements.txt")
    session.run("repro", "image", *session.posargs)


@nox.session(python=PYTHON)
def tests(session: nox.Session) -> None:
    """Run the tests, the sample experiment end to end among them."""
    install(session, "requirements-dev.txt")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHON)
def lint(session: nox.Session) -> None:
    """Check style and likely mistakes; changes nothing. To repair: ruff check --fix . and ruff format . in .venv"""
    install(session, "requirements-dev.txt")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(venv_backend="none")
def lock(session: nox.Session) -> None:
    """Pin what both pyproject.toml files ask for, with hashes, for every platform: nox -s lock [-- --upgrade]"""
    for name, (sources, pins) in LOCKS.items():
        session.run(
            *["uv", "pip", "compile", *sources, "--output-file", name, "--quiet"],
            *["--universal", "--python-version", PYTHON, "--generate-hashes", "--no-annotate"],
            *["--custom-compile-command", "nox -s lock"],
            *([f"--constraints={pins}"] if pins else []),
            *session.posargs,
            external=True,
        )


@nox.session(venv_backend="none")
def dev(session: nox.Session) -> None:
    """Make .venv, for the editor, notebooks and daily work: the locked packages and this project."""
    make = ["uv", "venv", "--quiet", "--allow-existing", "--no-python-downloads", "--python", PYTHON, ".venv"]
    session.run(*make, external=True)
    install(session, "requirements-dev.txt", "--python", ".venv")
    activate = r".venv\Scripts\activate" if sys.platform == "win32" else "source .venv/bin/activate"
    session.log(f"ready: {activate}")


@nox.session(python=PYTHON)
def ui(session: nox.Session) -> None:
    """Look at the runs in a browser: nox -s ui [-- --port 5001]"""
    install(session, "requirements-server.txt")
    ask = "from reproducibility import tracking_uri; print(tracking_uri())"
    uri = session.run("python", "-c", ask, silent=True).strip()
    if uri.startswith("http"):
        webbrowser.open(uri)
    else:
        session.run("repro", "server", "run", "--embedded", *session.posargs)


@nox.session(python=PYTHON)
def server(session: nox.Session) -> None:
    """Bring the team's tracking server up: nox -s server [-- down | backup DIR | restore DIR [--replace] | --embedded]

    With --embedded it runs without containers, for one machine: nox -s server -- --embedded --port 5001
    """
    embedded = "--embedded" in session.posargs
    install(session, "requirements-server.txt" if embedded else "requirements.txt")
    session.run("repro", "server", *(["run"] if embedded else []), *session.posargs)
