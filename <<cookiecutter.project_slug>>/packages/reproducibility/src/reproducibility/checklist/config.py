"""Config file committed: its values are the run's, it is in the run's commit, and it was not changed since."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..config.loader import config_digest, read_defaults
from ..digest import canonical
from ..display import one_line
from ..errors import Refused, Unknown, Violation
from ..git.command import git
from ..git.state import is_in_commit
from ..tracking.recorded import RecordedRun
from .ancestry import DEEPEN, is_shallow
from .item import Seen
from .review import Review

CHECKS = frozenset({"config", "config digest"})
_SHOWN = 5
_ABSENT = object()


def look(review: Review) -> Iterator[Seen]:
    """Compare the run's config with its files at the run's commit, and those with what lies in the work tree."""
    recorded = review.run.recorded
    if (named := recorded.values.get("experiment_name")) != recorded.experiment:
        problem = f"the run is in the experiment {one_line(recorded.experiment)!r}, its config says {one_line(named)!r}"
        yield Violation("experiment_name", problem, "name the run that the project's own command made")
    files = recorded.manifest.get("config_files") or []
    if not files:
        problem = "the run does not say from which file its config came"
        yield Violation("config", problem, "load it from one in configs/, and train anew: nox -s train")
        return
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            yield Violation(one_line(name, 200), "is not in the project", "put it into configs/, and train anew")
            return
    for name in files:
        if not is_in_commit(review.root, review.root / name):
            problem = "differs from the commit, or is not in it"
            fix = f"git add {name}, git commit, and train anew; or git restore {name}"
            yield Violation(one_line(name, 200), problem, fix)
    yield from _compared(review, recorded, files)


def _compared(review: Review, recorded: RecordedRun, files: list[str]) -> Iterator[Seen]:
    commit = recorded.manifest["tags"]["git_commit"]
    if overrides := recorded.manifest["overrides"]:
        problem = f"the run was started with {', '.join(f'--set {one_line(each)}' for each in overrides[:_SHOWN])}"
        yield Violation(one_line(files[0], 200), problem, "write that into the file, commit it and train anew")
        return
    try:
        committed = _at(review.root, commit, files)
    except Refused as refused:
        if is_shallow(review.root):
            problem = f"the clone is too shallow for the run's commit {commit[:12]}"
            raise Unknown([Violation(one_line(files[0], 200), problem, DEEPEN)]) from None
        problem = f"cannot be read at the run's commit {commit[:12]}: {refused.violations[0].problem}"
        yield Violation(one_line(files[0], 200), problem, "commit it and train anew")
        return
    differing = list(_differing(committed, recorded.values))
    for name, file, run_s in differing[:_SHOWN]:
        problem = f"{name} is {file} in the file at the run's commit, and {run_s} in the run"
        yield Violation(one_line(files[0], 200), problem, "commit the file that you mean and train anew")
    if not differing:
        also = f" with {', '.join(files[1:])}" if files[1:] else ""
        yield f"{files[0]}{also} at {commit[:12]} gives the run's {config_digest(recorded.values)[:19]}…"


def _at(root: Path, commit: str, files: list[str]) -> dict[str, Any]:
    """Return the values that the config *files* have at *commit*, the first extending the others."""
    with tempfile.TemporaryDirectory() as folder:
        for name in files:
            place = Path(folder, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(git(root, "cat-file", "blob", f"{commit}:./{name}"))
        return read_defaults(Path(folder, files[0]))


def _differing(file: Mapping[str, Any], values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (key, in the file, in the run) where they differ; a whole number may stand for a float, as in loading.

    A key that only the run has is a default of the config's model, which is code of the same commit.
    """
    for key, one in file.items():
        other = values.get(key, _ABSENT)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differing(one, other, f"{prefix}{key}.")
        elif one != other or isinstance(one, bool) != isinstance(other, bool):
            yield f"{prefix}{key}", _shown(one), "nothing" if other is _ABSENT else _shown(other)


def _shown(value: Any) -> str:
    return one_line(canonical(value).decode("utf-8", "replace"))
