"""Makes the new project's first commit, which its first run needs, and prints what to do next; deletes nothing."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

AUTHOR = bytes.fromhex("<< cookiecutter.author | hexadecimal >>").decode().strip()

# The first commit holds exactly what was generated: settings of the user to ignore, convert, sign or run are not used.
FIRST_COMMIT = {
    "init.defaultObjectFormat": "sha1",
    "core.excludesFile": "",
    "core.attributesFile": "",
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "commit.gpgSign": "false",
}
# What git gets of its variables: where the settings are. GIT_DIR and others would name another repository. Names of
# people are left out, because the answer says who makes the project.
KEPT = (
    "GIT_AUTHOR_DATE",
    "GIT_COMMITTER_DATE",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_EXEC_PATH",
)
ROLES = ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT")
# In an environment of its own: the system's Python of many distributions refuses `pip install`.
GET_NOX = 'python3 -m venv ~/.nox && . ~/.nox/bin/activate && pip install "nox[uv]"'
if os.name == "nt":
    GET_NOX = r'py -m venv "%USERPROFILE%\.nox" && "%USERPROFILE%\.nox\Scripts\activate" && pip install "nox[uv]"'
IDENTITY = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")


def main() -> None:
    sys.stdout.reconfigure(errors="backslashreplace")  # some terminals cannot print every author
    print(first_commit())
    folder = str(Path.cwd())
    print("\nNext:")
    for step in (
        f'cd "{folder}"' if os.name == "nt" else f"cd {shlex.quote(folder)}",
        *([GET_NOX] if shutil.which("nox") is None else []),
        "nox -s train",
        "nox -s tests",
    ):
        print(f"    {step}")


def first_commit() -> str:
    """Commit all files in a new repository here; return what was done, or what the user has to do."""
    try:
        outer = git("rev-parse", "--git-dir")
    except OSError:
        return (
            "git was not found, so nothing is committed yet and a run will be refused.\n"
            'Install git (https://git-scm.com), then here: git init -b main, git add -A, git commit -m "First commit"'
        )
    if outer.returncode == 0 or "safe.directory" in outer.stderr:
        return (
            "This folder is inside another git repository, so no new one was made.\n"
            'The first run needs the files committed: git add -A . and git commit -m "Add the project"\n'
            f"{move_workflows()}"
        )
    note = ""
    try:
        done("init", "--quiet", "--template=")
        done("symbolic-ref", "HEAD", "refs/heads/main")
        known = known_identity()
        name, _, email = AUTHOR.removesuffix(">").partition(" <")
        # git wants an address, and the answer may have none.
        email = email or setting("user.email") or "noreply@localhost"
        if known != f"{name} <{email}>":
            done("config", "user.name", name)
            done("config", "user.email", email)
            note = f"\nAs you answered: in this repository, and nowhere else, you are now {name} <{email}>."
            if known:
                note += f" Elsewhere git knows you as {known}."
        answered = {"NAME": name, "EMAIL": email}
        if others := [key for key in IDENTITY if os.environ.get(key, own := answered[key.split("_")[2]]) != own]:
            note += f"\nFor git your environment comes first: to be who you answered, unset {', '.join(others)}."
        done("add", "--all")
        done("commit", "--quiet", "--no-verify", "--message", "Generate the project from its template")
    except subprocess.CalledProcessError as error:
        return (
            f"The project is here, but git could not commit it and said: {error.stderr.strip()}\n"
            'The first run needs a commit: git add -A, git commit -m "First commit"'
        )
    return f"Made a git repository with the first commit.{note}"


def move_workflows() -> str:
    """Return how GitHub comes to see the workflows of a project that is a folder of a bigger repository."""
    prefix = git("rev-parse", "--show-prefix").stdout.strip().rstrip("/") or "the project's folder"
    return (
        "GitHub reads workflows only at the top of a repository. Move those of this project there:\n"
        "    move .github/workflows/*.yml of this folder to .github/workflows/ at the top of the repository\n"
        f"    in each file, write PROJECT: {prefix} where they say PROJECT: ."
    )


def known_identity() -> str:
    """Return `Name <email>` as git's settings have it, else nothing; git's guesses from the machine do not count."""
    known = {git("-c", "user.useConfigOnly=true", "var", role).stdout.rpartition(">")[0] for role in ROLES}
    return f"{known.pop()}>" if len(known) == 1 and "" not in known else ""


def setting(key: str) -> str:
    return git("config", "--get", key).stdout.strip()


def done(*arguments: str) -> None:
    git(*arguments).check_returncode()


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key.startswith(KEPT) or key[:4] != "GIT_"}
    environment.pop("EMAIL", None)  # git would use this address, but a run's author is not read from it
    environment |= {"LC_ALL": "C", "GIT_ATTR_NOSYSTEM": "1"}
    settings = [part for key, value in FIRST_COMMIT.items() for part in ("-c", f"{key}={value}")]
    return subprocess.run(
        ["git", *settings, *arguments],
        check=False,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )


main()
