"""requirements.txt updated: it pins what pyproject.toml asks for, with hashes, and is what was installed and run."""

import tomllib
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ..digest import digest
from ..display import one_line
from ..errors import Refused, Unknown, Violation
from ..git.command import git
from ..lockfile import LOCK, pins, unhashed
from ..provenance.environment import environment
from .ancestry import fork_point, resolved
from .item import Seen
from .review import Review

CHECKS = frozenset({"lock digest"})
_PROJECT = "pyproject.toml"
_LOCK_IT = "nox -s lock, and commit what it changes"
_SHOWN = 5


def look(review: Review) -> Iterator[Seen]:
    """Compare pyproject.toml, the lock, what is installed, what the run had, and what stood there before."""
    here = environment(review.root)
    pinned = pins(LOCK, here.lock)
    asked = _dependencies((review.root / _PROJECT).read_bytes(), _PROJECT)
    unmet = list(_unmet(asked, pinned))
    yield from unmet
    if not unmet:
        yield f"pins all {len(asked)} dependencies of {_PROJECT}"
    if bare := unhashed(here.lock):
        problem = f"{_named(bare)} {'have' if len(bare) > 1 else 'has'} no hash"
        yield Violation(LOCK, problem, _LOCK_IT)
    else:
        yield f"{len(pinned)} packages with hashes"
    for drift in here.drift[:_SHOWN]:
        yield Violation("environment", str(drift), "nox -s checklist installs what is locked")
    if not here.drift:
        yield "installed as locked"
    try:
        yield from _since(review, asked, pinned)
    except Unknown as untold:
        yield untold
    recorded = review.run.recorded
    if recorded.manifest["tags"]["lock_digest"] != digest(here.lock):
        problem = f"the run was made with another lock ({recorded.manifest['tags']['lock_digest'][:19]}…)"
        yield Violation(LOCK, problem, "train anew with this one: nox -s train")
    elif drift := recorded.manifest["environment"]["drift"]:
        names = _named([each["package"] for each in drift])
        yield Violation("environment", f"the run had other packages than locked: {names}", "train anew: nox -s train")
    else:
        yield "the run had the same"


def _dependencies(text: bytes, name: str) -> dict[str, Requirement]:
    """Return what a pyproject.toml asks for on this machine, by canonical name."""
    try:
        listed = tomllib.loads(text.decode())["project"].get("dependencies", [])
        asked = [Requirement(each) for each in listed]
    except (ValueError, KeyError, TypeError, AttributeError, InvalidRequirement) as error:
        problem = f"its dependencies cannot be read ({one_line(str(error), 200)})"
        raise Refused([Violation(name, problem, 'write them as `dependencies = ["name>=1"]`')]) from None
    return {canonicalize_name(each.name): each for each in asked if each.marker is None or each.marker.evaluate()}


def _unmet(asked: dict[str, Requirement], pinned: dict[str, str]) -> Iterator[Violation]:
    for name, requirement in asked.items():
        if (version := pinned.get(name)) is None:
            yield Violation(LOCK, f"{_PROJECT} asks for {one_line(str(requirement))}, which it does not pin", _LOCK_IT)
        elif not requirement.specifier.contains(version, prereleases=True):
            problem = f"{_PROJECT} asks for {one_line(str(requirement))}, and it pins {version}"
            yield Violation(LOCK, problem, _LOCK_IT)
        for extra in requirement.extras:
            if missing := sorted(name for name in _brought(name, extra) if name not in pinned):
                problem = (
                    f"{_PROJECT} asks for {name}[{extra}], which needs {_named(missing)}, and it does not pin that"
                )
                yield Violation(LOCK, problem, _LOCK_IT)


def _brought(name: str, extra: str) -> Iterator[str]:
    """Yield what the *extra* of an installed package asks for; nothing where the package is not installed."""
    try:
        asked = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return
    for requirement in map(Requirement, asked):
        marker = requirement.marker
        if marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def _since(review: Review, asked: dict[str, Requirement], pinned: dict[str, str]) -> Iterator[Seen]:
    """Look whether the dependencies changed on this branch, and the lock with them."""
    if review.base is None:
        yield "compared with no other branch (--base REF)"
        return
    base = resolved(review.root, review.base, "git fetch origin, or name another with --base")
    since = fork_point(review.root, base, review.head)
    before = _dependencies(git(review.root, "cat-file", "blob", f"{since}:./{_PROJECT}"), f"{_PROJECT} at {since[:12]}")
    changed = sorted(name for name in asked.keys() | before.keys() if str(asked.get(name)) != str(before.get(name)))
    if not changed:
        yield f"the dependencies are those of {since[:12]}"
        return
    left = [name for name in changed if name not in asked and name in pinned and not _is_needed(name, pinned)]
    if left:
        problem = f"{_named(left)} was taken out of {_PROJECT} since {since[:12]} and is still locked"
        yield Violation(LOCK, problem, _LOCK_IT)
    elif pins(LOCK, git(review.root, "cat-file", "blob", f"{since}:./{LOCK}")) != pinned:
        yield f"changed since {since[:12]} together with the dependencies ({_named(changed)})"
    else:
        # Not every change leads to other pins: a lower bound that is met anyway does not, and neither does asking for
        # what another package brought before.
        yield f"the dependencies changed since {since[:12]} ({_named(changed)}), and the same pins meet them"


def _is_needed(name: str, pinned: dict[str, str]) -> bool:
    """Whether a locked package other than *name* asks for it, as far as what is installed says so."""
    for dist in metadata.distributions():
        if (own := canonicalize_name(dist.name)) == name or own not in pinned:
            continue
        extras = ["", *(dist.metadata.get_all("Provides-Extra") or [])]
        for requirement in map(Requirement, dist.requires or []):
            marker = requirement.marker
            if canonicalize_name(requirement.name) == name and (
                marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)
            ):
                return True
    return False


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(one_line(name) for name in names[:_SHOWN]) + more
