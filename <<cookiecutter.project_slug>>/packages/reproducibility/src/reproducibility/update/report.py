"""The report of an update, for a person at a terminal and for machines."""

from collections.abc import Iterator

import click

from ..display import emit, listed
from ..errors import printable
from .update import Update


def show_update(found: Update, as_json: bool) -> None:
    """Print what the template has, what was merged, and what to do next."""
    emit(as_json, found.described, lambda _: click.echo(printable("\n".join(_lines(found)))))


def _lines(found: Update) -> Iterator[str]:
    yield from about(found)
    if found.merge:
        yield from _next_steps(found)
    elif found.files:
        yield "To merge this: nox -s update"


def about(found: Update) -> Iterator[str]:
    """Yield the lines that say what the template has, and what became of it."""
    if not found.files:
        yield f"Nothing to do: the project has everything from its template (commit {found.new[:10] or 'not noted'})."
    else:
        many = "1 commit" if found.commits == 1 else f"{found.commits} commits"
        yield f"The template has {many} more, {found.old[:10]} to {found.new[:10]}:"
        yield from (f"  - {entry}" for entry in found.news)
        yield f"  {_counted(found.files)}"
    if found.by_hand:
        yield f"Changed here by hand, which can conflict at each update: {listed(found.by_hand)}"
    if found.merge and found.merge.kept_deleted:
        yield f"Deleted or moved away in this project, and so left out: {listed(found.merge.kept_deleted, 10)}"
    if found.merge and found.merge.conflicts:
        yield f"You and the template changed the same lines of {listed(found.merge.conflicts, 20)}"


def _counted(files: dict[str, str]) -> str:
    words = {"A": "added", "M": "changed", "D": "deleted"}
    found = [(sum(status == each for status in files.values()), word) for each, word in words.items()]
    return "files: " + ", ".join(f"{number} {word}" for number, word in found if number)


def _next_steps(found: Update) -> Iterator[str]:
    done = found.merge
    back = f"git switch {done.came_from} && git branch -D {done.branch}"
    if done.conflicts:
        yield "To go on: edit these files, `git add` them, and then `git cherry-pick --continue`"
        yield f"To go back: git cherry-pick --abort && {back}"
    else:
        yield f"Merged into the branch {done.branch}, without a conflict. To go back: {back}"
    if found.renew_locks:
        yield "Then, because other packages are asked for: `nox -s lock`, and commit the locks"
    yield f"Then: `nox -s lint tests`, `nox -s train`, and merge {done.branch}"
