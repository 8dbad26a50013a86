"""Config file committed: its values are the run's, it is in the run's commit, and it was not changed since."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..config.loader import read_defaults
from ..config.values import config_digest
from ..digest import canonical
from ..display import listed, one_line
from ..errors import Refused, Unknown, Violation, refuse
from ..git.command import git
from ..git.state import is_in_commit
from ..tracking.recorded import RecordedRun
from .ancestry import DEEPEN, is_shallow
from .item import Observation
from .review import Review

CHECKS = frozenset({"config", "config digest"})
_MOST_VALUES = 5
_ABSENT = object()


def inspect(review: Review) -> Iterator[Observation]:
    """Compare the run's config with its files at the run's commit, and those files with the work tree."""
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
    yield from _compare_values(review, recorded, files)


def _compare_values(review: Review, recorded: RecordedRun, files: list[str]) -> Iterator[Observation]:
    commit, key = recorded.manifest["tags"]["git_commit"], one_line(files[0], 200)
    if overrides := recorded.manifest["overrides"]:
        problem = f"the run was started with {listed(f'--set {each}' for each in overrides)}"
        yield Violation(key, problem, "write that into the file, commit it and train anew")
        return
    try:
        committed = _values_at(review.root, commit, files)
    except Refused as refused:
        if is_shallow(review.root):
            refuse(key, f"the clone is too shallow for the run's commit {commit[:12]}", DEEPEN, Unknown)
        problem = f"cannot be read at the run's commit {commit[:12]}: {refused.violations[0].problem}"
        yield Violation(key, problem, "commit it and train anew")
        return
    differences = list(_differences(committed, recorded.values))
    for name, in_file, in_run in differences[:_MOST_VALUES]:
        problem = f"{name} is {in_file} in the file at the run's commit, and {in_run} in the run"
        yield Violation(key, problem, "commit the file that you mean and train anew")
    if not differences:
        also = f" with {', '.join(files[1:])}" if files[1:] else ""
        yield f"{files[0]}{also} at {commit[:12]} gives the run's {config_digest(recorded.values)[:19]}…"


def _values_at(root: Path, commit: str, files: list[str]) -> dict[str, Any]:
    """Return the values that the config *files* have at *commit*, the first extending the others."""
    with tempfile.TemporaryDirectory() as folder:
        for name in files:
            place = Path(folder, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(git(root, "cat-file", "blob", f"{commit}:./{name}"))
        return read_defaults(Path(folder, files[0]))


def _differences(file: Mapping[str, Any], run: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (key, in the file, in the run) for each value that differs; 1 and 1.0 are the same, as in loading.

    A key that only the run has is a default of the config's model, which is code of the same commit.
    """
    for key, in_file in file.items():
        in_run = run.get(key, _ABSENT)
        if isinstance(in_file, dict) and isinstance(in_run, dict):
            yield from _differences(in_file, in_run, f"{prefix}{key}.")
        elif in_file != in_run or isinstance(in_file, bool) != isinstance(in_run, bool):
            yield f"{prefix}{key}", _shown(in_file), "nothing" if in_run is _ABSENT else _shown(in_run)


def _shown(value: Any) -> str:
    return one_line(canonical(value).decode("utf-8", "replace"))
