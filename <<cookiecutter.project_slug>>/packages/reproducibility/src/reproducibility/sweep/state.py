"""The state of a sweep on this machine: its id, what it runs on, and its study, in a folder that survives a restart."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from ..config.values import config_digest
from ..display import shown_path
from ..errors import Refused, Violation, refuse
from ..project import CACHE, PROJECT_ROOT
from ..provenance.expected import differences
from .settings import Settings

_FOLDER = CACHE / "sweeps"
_FILE = "sweep.json"


@dataclass(frozen=True)
class State:
    """A sweep that was begun. facts: see `provenance.expected`. store: where its runs are, without credentials."""

    sweep: str
    file: str
    config_digest: str
    facts: Mapping[str, str]
    store: str

    @property
    def folder(self) -> Path:
        return _FOLDER / self.sweep

    @property
    def study(self) -> Path:
        return self.folder / "study.log"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, no other process goes on with this sweep; raises Refused if one does."""
        try:
            with FileLock(self.folder / "lock", timeout=0):
                yield
        except Timeout:
            refuse(f"sweep {self.sweep}", "another process is running it", "wait for its end, or end that process")


def begin(settings: Settings, facts: Mapping[str, str], store: str) -> State:
    """Make the state of a new sweep."""
    values = settings.config.model_dump(mode="json")
    state = State(uuid4().hex, _name(settings.file), config_digest(values), dict(facts), store)
    state.folder.mkdir(parents=True)
    unfinished = state.folder / f"{_FILE}.unfinished"
    unfinished.write_text(json.dumps(asdict(state), indent=2), "utf-8")
    os.replace(unfinished, state.folder / _FILE)
    return state


def resume(settings: Settings, facts: Mapping[str, str], store: str) -> State:
    """Return the state of the last sweep of the same file.

    Raises Refused if there is none on this machine, and if config, code, packages or data are others now: trials from
    two of them would not be one sweep.
    """
    file = _name(settings.file)
    known = sorted(_FOLDER.glob(f"*/{_FILE}"), key=lambda path: path.stat().st_mtime)
    states = [State(**json.loads(path.read_text("utf-8"))) for path in known]
    state = next((each for each in reversed(states) if each.file == file), None)
    if state is None:
        refuse("--resume", f"no sweep of {shown_path(settings.file)} was begun in this folder", "leave --resume out")
    fix = "bring it back as it was, or start a new sweep without --resume"
    found = [
        Violation("--resume", f"this is not what the sweep began with: {each}", fix)
        for each in differences(state.facts, facts)
    ]
    if state.config_digest != config_digest(settings.config.model_dump(mode="json")):
        files = ", ".join(map(shown_path, settings.config.source.files))
        problem = f"one of these changed since the sweep began: {files}"
        found.append(Violation("--resume", problem, fix))
    if state.store != store:
        found.append(Violation("--resume", f"the runs of the sweep are in {state.store}, not in {store}", fix))
    if found:
        raise Refused(found)
    return state


def _name(file: Path) -> str:
    return (file.relative_to(PROJECT_ROOT) if file.is_relative_to(PROJECT_ROOT) else file).as_posix()
