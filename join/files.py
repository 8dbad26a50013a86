"""What a repository gets: configs/base.yaml, a noxfile, a workflow, lines of .gitignore. No code of its own changes."""

import json
import re
import shutil
from collections.abc import Sequence
from os.path import commonpath
from pathlib import Path

from reproducibility.errors import refuse

from .repository import MACHINERY, Repository

HERE = Path(__file__).resolve().parent
PROJECT = next(HERE.parent.glob("*cookiecutter.project_slug*"))
WORKFLOW = ".github/workflows/reproducibility.yml"
_ANSWER = re.compile(r"(?:<<|\{\{)\s*cookiecutter\.(\w+)[^\n]*?(?:>>|\}\})")
_IGNORED = (".cache/", ".nox/", "*.db", "*.db-*", "mlartifacts/", "mlruns/")


def data_path(repository: Repository, given: str | None) -> str:
    """Return what `data.path` will be: *given*, else the data that the code names, or the folder that has all of it."""
    found = repository.code.data
    if given or not found:
        return given or "data"
    return found[0] if len(found) == 1 else commonpath(found) or found[0]


def base_yaml(repository: Repository, data: str) -> str:
    """Return the text of configs/base.yaml: the template's own, with a policy that only records."""
    files = repository.files
    packages = {re.sub(r"^src/", "", name).partition("/")[0] for name in files if name.endswith("/__init__.py")}
    package = min(packages - {"tests", "packages"}, default="")
    stores = [uri for uri in repository.code.stores if uri.startswith(("http://", "https://", "sqlite:///"))]
    answers = {
        "tracking_uri": stores[0] if stores else "sqlite:///mlflow.db",
        "package_name": package if package.isidentifier() else "builtins",
        "project_slug": repository.name,
    }
    text = (PROJECT / "configs" / "base.yaml").read_text("utf-8")
    text = _ANSWER.sub(lambda found: json.dumps(answers[found[1]]), text)
    for key, value in (("enforce", "record"), ("environment_drift", "record"), ("seed", str(repository.code.seed))):
        text = re.sub(rf"^( *{key}:) .*$", rf"\g<1> {value}", text, count=1, flags=re.MULTILINE)
    return re.sub(
        r"^(data:\n(?:  #.*\n)*  path:) .*$", lambda found: f"{found[1]} {json.dumps(data)}", text, flags=re.M
    )


def noxfile_name(repository: Repository) -> str:
    return "noxfile_reproducibility.py" if repository.has("noxfile.py") else "noxfile.py"


def write(repository: Repository, folder: Path, top: Path, python: str, train: Sequence[str], data: str) -> list[str]:
    """Write everything but the lock into *folder*, the project's in the work tree *top*; return what was written.

    The paths are relative to *top*. Raises Refused if a link leads elsewhere.
    """
    names = (
        MACHINERY,
        "configs/base.yaml",
        "requirements.txt",
        "requirements.in",
        noxfile_name(repository),
        ".gitignore",
    )
    for path in (*(folder / name for name in names), top / WORKFLOW):
        if path.resolve() != path:
            shown = path.relative_to(top).as_posix()
            refuse(
                shown, "it is a link, or lies below one, and might lead out of the repository", "make it a real file"
            )
    skipped = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info", ".ruff_cache")
    shutil.copytree(PROJECT / MACHINERY, folder / MACHINERY, ignore=skipped)
    written = [folder / MACHINERY]
    lock, source = folder / "requirements.txt", folder / "requirements.in"
    if "requirements.in" in repository.sources and not source.exists():
        lock.rename(source)
        written += [source]
    given = {
        "PYTHON": python,
        "TRAIN": list(train),
        "SOURCES": list(repository.sources),
        "PACKAGES": [MACHINERY, *(["."] if repository.builds else [])],
    }
    noxfile = (HERE / "given" / "noxfile.py").read_text("utf-8")
    for name, value in given.items():
        noxfile = re.sub(rf"^{name} = .*$", lambda _, n=name, v=value: f"{n} = {json.dumps(v)}", noxfile, flags=re.M)
    place = "." if repository.folder == "." else repository.folder
    workflow = (HERE / "given" / "reproducibility.yml").read_text("utf-8")
    for name, value in (("FOLDER", place), ("NOXFILE", noxfile_name(repository)), ("PYTHON", python)):
        workflow = workflow.replace(f'"@{name}@"', json.dumps(value))
    ignore = folder / ".gitignore"
    before = ignore.read_text("utf-8") if ignore.exists() else ""
    missing = [line for line in _IGNORED if line not in before.splitlines()]
    after = before + "\n" * (bool(before) and not before.endswith("\n")) + "".join(f"{line}\n" for line in missing)
    for path, text in (
        (folder / "configs" / "base.yaml", base_yaml(repository, data)),
        (folder / noxfile_name(repository), noxfile),
        (top / WORKFLOW, workflow),
        (ignore, after),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        written.append(path)
    return [path.relative_to(top).as_posix() for path in written]
