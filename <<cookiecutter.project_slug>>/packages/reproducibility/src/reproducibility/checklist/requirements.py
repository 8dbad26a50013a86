"""requirements.txt updated: it pins what both pyproject.toml list, with hashes; it is installed, and the run had it."""

import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ..digest import digest
from ..display import listed, one_line
from ..errors import Refused, Unknown, Violation, refuse
from ..git.command import git, git_line
from ..lockfile import LOCK, pins, unhashed
from ..provenance.environment import environment, is_leftover
from .ancestry import commit_named, fork_point
from .item import Observation
from .review import Review

CHECKS = frozenset({"lock digest"})
# What the lock is compiled from.
_SOURCES = ("pyproject.toml", "packages/reproducibility/pyproject.toml")
_LOCK_IT = "nox -s lock, and commit what it changes"
_MOST_DRIFTS = 5

# {(canonical name, the source that lists it): requirement}
Dependencies: TypeAlias = dict[tuple[str, str], Requirement]


def inspect(review: Review) -> Iterator[Observation]:
    """Compare both pyproject.toml with the lock, and the lock with what is installed, with the run and the base."""
    here = environment(review.root)
    pinned = pins(LOCK, here.lock)
    found = {file: (review.root / file).read_bytes() for file in _SOURCES if (review.root / file).is_file()}
    wanted = _dependencies(found)
    unmet = list(_unmet(wanted, pinned))
    yield from unmet
    if not unmet:
        yield f"pins all {len({name for name, _ in wanted})} dependencies of {' and '.join(found)}"
    if bare := unhashed(here.lock):
        problem = f"{listed(bare)} {'have' if len(bare) > 1 else 'has'} no hash"
        yield Violation(LOCK, problem, _LOCK_IT)
    else:
        yield f"{len(pinned)} packages with hashes"
    for drift in here.drift[:_MOST_DRIFTS]:
        yield Violation("environment", str(drift), "nox -s checklist installs what is locked")
    if not here.drift:
        yield "installed as locked"
    try:
        yield from _since_base(review, wanted, pinned)
    except Unknown as unknown:
        yield unknown
    recorded = review.run.recorded
    if recorded.manifest["tags"]["lock_digest"] != digest(here.lock):
        problem = f"the run was made with another lock ({recorded.manifest['tags']['lock_digest'][:19]}…)"
        yield Violation(LOCK, problem, "train anew with this one: nox -s train")
    elif drift := recorded.manifest["environment"]["drift"]:
        names = listed(each["package"] for each in drift)
        yield Violation("environment", f"the run had other packages than locked: {names}", "train anew: nox -s train")
    else:
        yield "the run had the same"


def _dependencies(sources: Mapping[str, bytes], commit: str | None = None) -> Dependencies:
    """Return the dependencies that the *sources* {file: content} list for this machine; *commit* is for messages."""
    found: Dependencies = {}
    for file, content in sources.items():
        try:
            lines = tomllib.loads(content.decode())["project"].get("dependencies", [])
            requirements = [Requirement(each) for each in lines]
        except (ValueError, KeyError, TypeError, AttributeError, InvalidRequirement) as error:
            problem = f"its dependencies cannot be read ({one_line(str(error), 200)})"
            key = f"{file} at {commit[:12]}" if commit else file
            refuse(key, problem, 'write them as `dependencies = ["name>=1"]`')
        needed = (each for each in requirements if each.marker is None or each.marker.evaluate())
        found |= {(canonicalize_name(each.name), file): each for each in needed}
    return found


def _unmet(wanted: Dependencies, pinned: dict[str, str]) -> Iterator[Violation]:
    for (name, file), requirement in wanted.items():
        asks = f"{file} asks for {one_line(str(requirement))}"
        if (version := pinned.get(name)) is None:
            yield Violation(LOCK, f"{asks}, which it does not pin", _LOCK_IT)
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Violation(LOCK, f"{asks}, and it pins {version}", _LOCK_IT)
        for extra in sorted(requirement.extras):
            if missing := sorted(name for name in _needed_by_extra(name, extra) if name not in pinned):
                yield Violation(LOCK, f"{asks}, but {LOCK} does not pin {listed(missing)}", _LOCK_IT)


def _needed_by_extra(name: str, extra: str) -> Iterator[str]:
    """Yield what the *extra* of an installed package needs; nothing where the package is not installed."""
    try:
        requirements = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        if marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def _since_base(review: Review, wanted: Dependencies, pinned: dict[str, str]) -> Iterator[Observation]:
    """Compare the dependencies, and the lock, with those of the commit at which the branch began."""
    if review.base is None:
        yield "compared with no other branch (--base REF)"
        return
    root = review.root
    base = commit_named(root, review.base, "git fetch origin, or name another with --base")
    since = fork_point(root, base, review.head)
    # An older commit may have no machinery in packages/ yet.
    files = [file for file in _SOURCES if git_line(root, "rev-parse", "--verify", "--quiet", f"{since}:./{file}")]
    try:
        before = _dependencies({file: git(root, "cat-file", "blob", f"{since}:./{file}") for file in files}, since)
    except Refused as refused:  # nobody can change that commit
        yield f"nothing comparable at {since[:12]}: {refused.violations[0].key} {refused.violations[0].problem}"
        return
    changed = sorted({key[0] for key in wanted.keys() | before.keys() if str(wanted.get(key)) != str(before.get(key))})
    if not changed:
        yield f"the dependencies are those of {since[:12]}"
        return
    names = {name for name, _ in wanted}
    left = [name for name in changed if name not in names and name in pinned and not _is_needed(name, pinned)]
    if left:
        lists = " and ".join(sorted({file for name, file in before if name in left}))
        problem = f"{listed(left)} was taken out of {lists} since {since[:12]} and is still locked"
        yield Violation(LOCK, problem, _LOCK_IT)
    elif _pins_at(root, since) != pinned:
        yield f"changed since {since[:12]} together with the dependencies ({listed(changed)})"
    else:
        # A change need not lead to other pins: the pinned version may meet a new lower bound, and a new dependency may
        # have been locked before, because another package needs it.
        yield f"the dependencies changed since {since[:12]} ({listed(changed)}), and the same pins meet them"


def _pins_at(root: Path, commit: str) -> dict[str, str] | None:
    """Return what the lock pinned at *commit*; None if there was no lock, or one that pinned nothing exactly."""
    try:
        return pins(LOCK, git(root, "cat-file", "blob", f"{commit}:./{LOCK}"))
    except Refused:
        return None


def _is_needed(name: str, pinned: dict[str, str]) -> bool:
    """Tell whether a locked package other than *name* needs it, according to what is installed."""
    for dist in metadata.distributions():
        # A broken installation has no name.
        if not dist.name or is_leftover(dist) or (own := canonicalize_name(dist.name)) == name or own not in pinned:
            continue
        extras = ["", *(dist.metadata.get_all("Provides-Extra") or [])]
        for requirement in map(Requirement, dist.requires or []):
            marker = requirement.marker
            if canonicalize_name(requirement.name) == name and (
                marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)
            ):
                return True
    return False
