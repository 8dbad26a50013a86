"""The pull request of an update, made in two steps: the step with the right to push runs no code of the template.

The first step merges, and writes the new commits and the text into a folder. The second one pushes these commits and
opens the pull request, with the program gh of GitHub.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

from ..display import one_line
from ..errors import Refused, refuse
from ..git.command import git, git_line, reaching, work_tree
from ..project import PROJECT_ROOT
from ..secrets import redacted
from .commits import people
from .merge import BRANCHES, commit_conflicts
from .report import about
from .update import Update

_BUNDLE, _TEXT = "update.bundle", "update.md"
_HEAD = re.compile(rf"([0-9a-f]{{40,64}}) refs/heads/({BRANCHES}[0-9a-f]{{10}})")
_FENCE = "````"
_DOCUMENT = "docs/updates.md"


def offer(found: Update, folder: Path) -> str:
    """Write the commits of the merge and the text of a pull request into *folder*; return a sentence that says so.

    Files in conflict are committed with their markers, for somebody to resolve in the pull request. Without a conflict
    the locks are made anew if that is needed. Without a merge, nothing is written but an empty text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    merged = found.merge
    if merged is None:
        (folder / _TEXT).write_text("", "utf-8")
        return "There is nothing to offer."
    top = work_tree(PROJECT_ROOT).top
    notes = list(about(found))
    if merged.conflicts:
        commit_conflicts(top)
        notes.append("The conflicts are committed with their markers: resolve them in this branch")
    elif found.renew_locks:
        notes.append(_renewed_locks(top))
    git(top, "bundle", "create", "--quiet", str((folder / _BUNDLE).absolute()), f"{merged.base}..{merged.branch}")
    (folder / _TEXT).write_text(_markdown(notes), "utf-8")
    return f"{folder} has the branch {merged.branch} and the text of its pull request."


def _markdown(notes: list[str]) -> str:
    # The template's words stay words: nobody is mentioned, and nothing is linked.
    inside = "\n".join(notes).replace(_FENCE, "'''")
    intro = (
        f"What the template has changed, merged by `nox -s update`: see {_DOCUMENT}. The checks of this pull request"
    )
    return f"{intro} train with it.\n\n{_FENCE}text\n{inside}\n{_FENCE}\n"


def _renewed_locks(top: Path) -> str:
    """Make the locks anew with `nox -s lock`, and commit them; return what happened, for the text."""
    nox = shutil.which("nox")
    done = nox and subprocess.run([nox, "-s", "lock"], check=False, cwd=PROJECT_ROOT, capture_output=True)
    if not done or done.returncode:
        return "`nox -s lock` failed: run it in this branch, and commit the locks"
    git(PROJECT_ROOT, "add", "--", *(lock.name for lock in PROJECT_ROOT.glob("requirements*.txt")))
    if not git_line(top, "diff", "--cached", "--name-only"):
        return "The locks fit as they are"
    git(top, "commit", "--quiet", "--message=Make the locks anew", environment=people(top))
    return "The locks were made anew with `nox -s lock`"


def open_pull_request(folder: Path) -> str:
    """Push the branch that *folder* offers and open its pull request; return a sentence that says what was done.

    Only one such pull request is open at a time. Raises Refused when GitHub does not allow it.
    """
    bundle = (folder / _BUNDLE).absolute()
    if not bundle.is_file():
        return "There is nothing to open: the project has everything from its template."
    top = work_tree(PROJECT_ROOT).top
    found = _HEAD.fullmatch(git(top, "bundle", "list-heads", str(bundle)).decode("utf-8", "replace").strip())
    if not found:
        refuse(
            _BUNDLE, "it holds something else than the branch of an update", "make it anew: nox -s update -- --offer"
        )
    commit, branch = found.groups()
    open_now = json.loads(_gh("pr", "list", "--state", "open", "--limit", "100", "--json", "headRefName,url"))
    if others := [each["url"] for each in open_now if each["headRefName"].startswith(BRANCHES)]:
        return f"{others[0]} is open: merge it or close it, and the next update opens another."
    git(top, "fetch", "--quiet", "--no-write-fetch-head", str(bundle), f"refs/heads/{branch}")
    # The token reaches git through gh, and not through an argument.
    login = ("-c", "credential.helper=", "-c", "credential.helper=!gh auth git-credential")
    try:
        git(top, *login, "push", "--quiet", "origin", f"{commit}:refs/heads/{branch}", environment=reaching(top))
    except Refused as refused:
        problem = f"{branch} could not be pushed ({redacted(refused.violations[0].problem)})"
        refuse("pull request", problem, f"{_DOCUMENT} says which rights it needs, and which token for workflow files")
    title = f"Update from the template to {branch.removeprefix(BRANCHES)}"
    url = _gh("pr", "create", "--head", branch, "--title", title, "--body-file", str((folder / _TEXT).absolute()))
    return f"Opened {one_line(url.strip(), 200)}"


def _gh(*arguments: str) -> str:
    program = shutil.which("gh")
    if program is None:
        refuse("gh", "it opens the pull request, and is not installed", "install it: https://cli.github.com")
    done = subprocess.run([program, *arguments], check=False, cwd=PROJECT_ROOT, capture_output=True, encoding="utf-8")
    if done.returncode:
        said = redacted(one_line(" ".join(done.stderr.split()), 300))
        refuse("pull request", f"gh {arguments[1]} failed ({said})", f"{_DOCUMENT} says which rights it needs")
    return done.stdout
