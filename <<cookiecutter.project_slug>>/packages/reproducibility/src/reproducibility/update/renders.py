"""The renders of the template: the project as the template gives it at the old and at the new commit.

A render runs the template's own code, as generating the project did.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..display import one_line
from ..errors import Refused, refuse
from ..git.command import commit_id, git, git_line, reaching
from ..provenance.template import Template
from ..secrets import redacted, without_credentials

# A template with this folder can be checked out on Windows too. Its repository keeps that edition on a branch.
_STANDARD_FOLDER, _STANDARD_BRANCH = "{{cookiecutter.project_slug}}", "standard"
# An address may start no other program, as `ext::sh -c ...` would.
_PROTOCOLS = {"GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh"}


@dataclass(frozen=True)
class Renders:
    """Two folders with the project as the template gives it, and the commits of the template that they come from.

    commits: how many commits of the template are new. changelogs: the old and the new text of its CHANGELOG.md, ""
    where it has none.
    """

    old: Path
    new: Path
    old_commit: str
    new_commit: str
    commits: int
    changelogs: tuple[str, str]


@contextmanager
def rendered(root: Path, noted: Template, since: str | None, to: str | None) -> Iterator[Renders | None]:
    """Yield the renders for the project at *root*; None if the template has nothing newer.

    *since* and *to* name other commits than the noted one and the newest one. Raises Refused when the template cannot
    be obtained or rendered.
    """
    if importlib.util.find_spec("cookiecutter") is None:
        refuse("cookiecutter", "this environment does not have it, and it renders the template", "nox -s update")
    with tempfile.TemporaryDirectory(prefix="update-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        clone = _cloned(root, noted.address, folder / "template.git")
        old = _old_commit(clone, since or noted.commit, noted.address)
        new = _new_commit(clone, to, old)
        if new == old or (to is None and _is_before(clone, new, old)):
            yield None
            return
        yield Renders(
            _render(clone, old, noted.answers, folder / "old"),
            _render(clone, new, noted.answers, folder / "new"),
            old,
            new,
            int(git(clone, "rev-list", "--count", f"{old}..{new}")),
            (_changelog(clone, old), _changelog(clone, new)),
        )


def _cloned(root: Path, address: str, clone: Path) -> Path:
    if not address:
        problem = "the project does not note where its template is"
        refuse("template", problem, "name its address: nox -s update -- --template ADDRESS")
    try:
        git(root, "clone", "--quiet", "--bare", "--", address, str(clone), environment=reaching(root) | _PROTOCOLS)
    except Refused as refused:
        shown = one_line(without_credentials(address), 200)
        problem = f"{shown} cannot be fetched: {_reason(refused)}"
        refuse("template", problem, f"make `git ls-remote {shown}` work, or name another address with --template")
    return clone


def _reason(refused: Refused) -> str:
    return redacted(refused.violations[0].problem.partition(": ")[2])


def _old_commit(clone: Path, name: str, address: str) -> str:
    if not name:
        problem = "the project does not note the commit of the template that it comes from"
        refuse("template", problem, "name that commit, or an older one: nox -s update -- --from COMMIT")
    if (found := commit_id(clone, name)) is None:
        with suppress(Refused):  # no branch has it any more, but the server may give it out
            git(clone, "fetch", "--quiet", "--end-of-options", "origin", name, environment=reaching(clone) | _PROTOCOLS)
        found = commit_id(clone, name)
    if found is None:
        problem = f"{one_line(address, 200)} has no commit {one_line(name)}"
        refuse("template", problem, "name one that it has, best an older one: nox -s update -- --from COMMIT")
    return found


def _new_commit(clone: Path, name: str | None, old: str) -> str:
    if name is None:
        folders = git(clone, "ls-tree", "-z", "--name-only", old).decode("utf-8", "replace").split("\0")
        name = _STANDARD_BRANCH if _STANDARD_FOLDER in folders else "HEAD"
    if (found := commit_id(clone, name)) is None:
        refuse("template", f"it has no branch, tag or commit {one_line(name)}", "name one that it has with --to")
    return found


def _is_before(clone: Path, first: str, second: str) -> bool:
    return git_line(clone, "merge-base", first, second) == first


def _changelog(clone: Path, commit: str) -> str:
    try:
        return git(clone, "cat-file", "blob", f"{commit}:CHANGELOG.md").decode("utf-8", "replace")
    except Refused:
        return ""


def _render(clone: Path, commit: str, answers: Mapping[str, str], folder: Path) -> Path:
    """Return the project that the template gives at *commit* with *answers*; new questions get their default."""
    checkout, made = folder / "template", folder / "project"
    git(clone, "worktree", "add", "--quiet", "--detach", str(checkout), commit)
    made.mkdir()
    # Nothing of the user's own settings of Cookiecutter, and nothing left in the user's home.
    settings = folder / "settings.yaml"
    places = {name: str(folder / name) for name in ("cookiecutters_dir", "replay_dir")}
    settings.write_text(json.dumps(places), "utf-8")  # JSON is YAML
    command = [sys.executable, "-I", "-X", "utf8", "-m", "cookiecutter", "--no-input", "--accept-hooks", "no"]
    command += ["--config-file", str(settings), "--output-dir", str(made), str(checkout)]
    command += [f"{question}={answer}" for question, answer in answers.items()]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COOKIECUTTER_")}
    done = subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, stdin=subprocess.DEVNULL
    )
    projects = list(made.iterdir())
    if done.returncode or len(projects) != 1:
        said = (done.stdout + done.stderr).decode("utf-8", "replace").strip().splitlines()
        problem = f"commit {commit[:10]} gives no project with the noted answers ({one_line(' '.join(said[-2:]), 300)})"
        refuse(
            "template", problem, "correct the answers in [tool.cookiecutter] of pyproject.toml, or name another --to"
        )
    return projects[0]
