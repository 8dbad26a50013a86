"""An update: what a newer template changes in a project is merged into the team's own work.

The template is rendered twice with the project's answers, at the commit that the project comes from and at the newest
one. Git merges the difference between these two renders. So it does not matter how the team merged earlier updates: the
base of the merge is rendered, and not searched in the history.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from ..git.command import work_tree
from ..project import PROJECT_ROOT
from ..provenance.template import template
from . import news
from .commits import changed_paths, committed, is_only_the_origin, keep_the_origin, keep_the_teams
from .merge import Merge, merge, require_clean, require_room
from .renders import Renders, rendered


@dataclass(frozen=True)
class Update:
    """What a newer template has for a project. Without `files` there is nothing to do.

    old, new: commits of the template. commits: how many are new. news: the new entries of its changelog. files: {path:
    A, D or M} of what the template adds, deletes and changes. by_hand: files of the machinery that somebody changed in
    the project. renew_locks: whether the locks have to be made anew. merge: the merge, if it was made.
    """

    old: str
    new: str
    commits: int = 0
    news: tuple[str, ...] = ()
    files: dict[str, str] | None = None
    by_hand: tuple[str, ...] = ()
    renew_locks: bool = False
    merge: Merge | None = None

    def described(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return asdict(self) | {"files": self.files or {}, "behind": bool(self.files)}


def update(address: str | None, since: str | None, to: str | None, *, check: bool = False) -> Update:
    """Merge what the template has changed into a new branch of the project; with *check* only tell what that would be.

    *address*, *since* and *to* take the place of the noted template, the noted commit and the newest commit. Raises
    Refused when the work tree has changes that no commit has, and when the template cannot be obtained or rendered.
    """
    root = PROJECT_ROOT
    tree = work_tree(root)
    if not check:
        require_clean(tree)
    noted = template(root)
    noted = replace(noted, address=address or noted.address)
    with rendered(root, noted, since, to) as renders:
        if renders is None:
            return Update(noted.commit, noted.commit)
        by_hand = news.changed_by_hand(root, renders.old)
        keep_the_origin(root, renders.old)
        new_locks = keep_the_teams(renders.old, renders.new)
        names = news.entries(*renders.changelogs)
        old = committed(tree, renders.old, f"The template at {renders.old_commit}\n")
        new = committed(tree, renders.new, _message(renders, names), parent=old)
        files = changed_paths(tree, old, new)
        if files.keys() <= {"pyproject.toml"} and is_only_the_origin(renders.old, renders.new):
            files = {}
        renew_locks = bool(new_locks) or news.asks_for_other_packages(renders.old, renders.new)
    found = Update(renders.old_commit, renders.new_commit, renders.commits, names, files, by_hand, renew_locks)
    if check or not files:
        return found
    require_room(tree, [name for name, status in files.items() if status == "A"])
    return replace(found, merge=merge(tree, new, renders.new_commit[:10]))


def _message(renders: Renders, names: tuple[str, ...]) -> str:
    title = f"Update from the template: {renders.old_commit[:10]} to {renders.new_commit[:10]}"
    return "\n".join([title, "", *(f"- {name}" for name in names)]) + "\n"
