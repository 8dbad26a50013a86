"""Writes the standard edition: this template with the usual delimiters {{ }}, which render the same project.

python edition.py FOLDER       writes it into FOLDER, which is new or empty
python edition.py --publish    commits it to the branch `standard` of origin
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from binaryornot.check import is_binary
from cookiecutter.generate import is_copy_only_path
from jinja2 import Environment

HERE = Path(__file__).resolve().parent
QUESTIONS = json.loads((HERE / "cookiecutter.json").read_text(encoding="utf-8"))
PROJECT = "<<cookiecutter.project_slug>>"
BRANCH = "standard"

# Without what a branch that a workflow pushes may not have: GitHub lets its token change no workflow file.
NOT_PUBLISHED = ".github"
AUTHOR = {"NAME": "github-actions[bot]", "EMAIL": "41898282+github-actions[bot]@users.noreply.github.com"}
# The token reaches git through gh, and not through an argument.
LOGIN = ("-c", "credential.helper=", "-c", "credential.helper=!gh auth git-credential")

STANDARD = {"<<": "{{", ">>": "}}", "<%": "{%", "%>": "%}", "<#": "{#", "#>": "#}"}
# A name of a folder as code and documents outside the project write it, the second as a link does.
FOLDERS = re.compile(r"(<<|%3C%3C)(cookiecutter\.\w+)(>>|%3E%3E)")
LINKED = {"<<": "{{", ">>": "}}", "%3C%3C": "%7B%7B", "%3E%3E": "%7D%7D"}


def write(folder: Path) -> None:
    """Write the standard edition into *folder*, from every file of this template that git knows or would add."""
    for name in git(HERE, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if not name or not (HERE / name).is_file():
            continue
        made = folder / standard_names(name)
        made.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / name, made)
        if not is_binary(str(HERE / name)):
            made.write_bytes(standard(name, (HERE / name).read_bytes().decode("utf-8")).encode())


def standard(name: str, text: str) -> str:
    """Return the *text* of the file *name* as the standard edition has it."""
    inside = name.removeprefix(f"{PROJECT}/")
    if name == "cookiecutter.json":
        return (
            json.dumps({key: value for key, value in QUESTIONS.items() if key != "_jinja2_env_vars"}, indent=2) + "\n"
        )
    if inside != name:
        is_copied = is_copy_only_path(str(Path(inside)), {"cookiecutter": QUESTIONS})
        return text if is_copied else "".join(converted(text))
    if name.startswith("hooks/"):
        return "".join(converted(text))
    return text if name == Path(__file__).name else standard_names(text)


def standard_names(text: str) -> str:
    """Return *text* with the names of the template's folders as the standard edition has them."""
    return FOLDERS.sub(lambda found: LINKED[found[1]] + found[2] + LINKED[found[3]], text)


def converted(text: str) -> Iterator[str]:
    """Yield the parts of a template with the standard delimiters: what it prints stays the same."""
    ours = Environment(**QUESTIONS["_jinja2_env_vars"], keep_trailing_newline=True)  # noqa: S701 - it renders nothing
    for _, kind, part in ours.lex(text):
        if kind == "data":
            # Nothing of it is markup. A brace at its end would join the delimiter behind it.
            is_plain = not re.search(r"\{[{%#]|\{$", part)
            yield part if is_plain else f"{{% raw %}}{part}{{% endraw %}}"
        elif kind.endswith(("_begin", "_end")):
            yield re.sub("|".join(STANDARD), lambda found: STANDARD[found[0]], part)
        else:
            yield part


def publish() -> str:
    """Commit the standard edition of HEAD to the branch `standard` of origin, on top of what it has; say what was done.

    The branch keeps its history: projects note its commits, and an update needs the one that a project notes.
    """
    source = git(HERE, "rev-parse", "HEAD")
    listed = git(HERE, *LOGIN, "ls-remote", "origin", f"refs/heads/{BRANCH}").split()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "edition")
        write(folder)
        shutil.rmtree(folder / NOT_PUBLISHED, ignore_errors=True)
        inside = {"GIT_DIR": git(HERE, "rev-parse", "--absolute-git-dir"), "GIT_WORK_TREE": str(folder)}
        inside |= {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
        git(folder, "add", "--all", "--force", ".", **inside)
        tree = git(folder, "write-tree", **inside)
    if listed:
        git(HERE, *LOGIN, "fetch", "--quiet", "--depth=1", "origin", listed[0])
        if git(HERE, "rev-parse", f"{listed[0]}^{{tree}}") == tree:
            return f"The branch {BRANCH} has the standard edition of {source[:10]} already."
    named = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in AUTHOR.items()}
    parents = ["-p", listed[0]] if listed else []
    made = git(HERE, "commit-tree", tree, *parents, "-m", f"The standard edition of {source}", **named)
    git(HERE, *LOGIN, "push", "--quiet", "origin", f"{made}:refs/heads/{BRANCH}")
    return f"The branch {BRANCH} now has the standard edition of {source[:10]}."


def git(folder: Path, *arguments: str, **environment: str) -> str:
    command = ["git", "-C", str(folder), "-c", "core.autocrlf=false", *arguments]
    done = subprocess.run(command, check=False, env=os.environ | environment, capture_output=True, encoding="utf-8")
    if done.returncode:
        sys.exit(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.removesuffix("\n")


def main(arguments: list[str]) -> None:
    if arguments == ["--publish"]:
        print(publish())
    elif len(arguments) == 1 and not arguments[0].startswith("-"):
        folder = Path(arguments[0])
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            sys.exit(f"{folder} is there already: name a new folder, or an empty one")
        write(folder)
    else:
        sys.exit("name a folder: nox -s edition -- FOLDER")


if __name__ == "__main__":
    main(sys.argv[1:])
