"""Reproducibility for every run: `tracked_run` is the easy right way; code with a run of its own has the two others.

What is named here is all that the rest of the project imports. Each name is loaded when it is first used, so that
`repro --help` does not wait for libraries it has no need of.
"""

import os
from importlib import import_module

TYPE_CHECKING = False  # type checkers take it for true; importing `typing` takes as long as the rest of `repro --help`
if TYPE_CHECKING:
    from .command import experiment_command
    from .config_file import Config, Section, load
    from .provenance import PROJECT_ROOT, locked_requirements
    from .store import tracking_uri
    from .tracking import log_reproducibility_info, tracked_run, validate_required_tags
    from .violation import Refused, Violation

# MLflow reports its use to its makers from the moment it is imported; a training run talks to the team's server only.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

_ROOMS = {
    "command": ("experiment_command",),
    "config_file": ("Config", "Section", "load"),
    "provenance": ("PROJECT_ROOT", "locked_requirements"),
    "store": ("tracking_uri",),
    "tracking": ("log_reproducibility_info", "tracked_run", "validate_required_tags"),
    "violation": ("Refused", "Violation"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "PROJECT_ROOT",
    "Config",
    "Refused",
    "Section",
    "Violation",
    "experiment_command",
    "load",
    "locked_requirements",
    "log_reproducibility_info",
    "tracked_run",
    "tracking_uri",
    "validate_required_tags",
]


def __getattr__(name: str) -> object:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_ROOM_OF[name]}", __name__), name)
