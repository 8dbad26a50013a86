"""Reproducible runs. `tracked_run` is the easy way; code that starts its own runs calls the two other functions:
`log_reproducibility_info` and `validate_required_tags`.

The rest of the project imports the names below and nothing else. A name is loaded when it is first used, so that
`repro --help` does not wait for libraries that it does not need.
"""

import os
import sys
from importlib import import_module

from .mlflow_defaults import DEFAULTS

TYPE_CHECKING = False  # True for type checkers; importing `typing` takes as long as the rest of `repro --help`
if TYPE_CHECKING:
    from .command import experiment_command as experiment_command
    from .config.loader import Config as Config
    from .config.values import Section as Section
    from .errors import Refused as Refused
    from .errors import Violation as Violation
    from .project import PROJECT_ROOT as PROJECT_ROOT
    from .project import load as load
    from .project import locked_requirements as locked_requirements
    from .tracking.run import log_reproducibility_info as log_reproducibility_info
    from .tracking.run import tracked_run as tracked_run
    from .tracking.run import validate_required_tags as validate_required_tags
    from .tracking.store import tracking_uri as tracking_uri

for _name, _value in DEFAULTS.items():
    os.environ.setdefault(_name, _value)

_MODULE_OF = {
    "PROJECT_ROOT": "project",
    "Config": "config.loader",
    "Refused": "errors",
    "Section": "config.values",
    "Violation": "errors",
    "experiment_command": "command",
    "load": "project",
    "locked_requirements": "project",
    "log_reproducibility_info": "tracking.run",
    "tracked_run": "tracking.run",
    "tracking_uri": "tracking.store",
    "validate_required_tags": "tracking.run",
}
__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .errors import ProjectNotFound

    try:
        return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    except ProjectNotFound:
        sys.excepthook = _end_with_message
        raise


def _end_with_message(kind: type[BaseException], error: BaseException, traceback: object) -> None:
    """End a script that found no project with one message and status 2; any other error has its traceback."""
    from .errors import ProjectNotFound

    if not isinstance(error, ProjectNotFound):
        return sys.__excepthook__(kind, error, traceback)
    error.show()
    raise SystemExit(error.exit_code)
