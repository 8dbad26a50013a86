"""The start of a process: the script, module or command that a user started, and its arguments without secrets."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..display import as_utf8
from ..project import PROJECT_ROOT
from ..secrets import redacted

# The names of options whose value is a secret: --password, --db-password, --api-key, db.passwd, --hf_token.
_SECRET_NAME = re.compile(
    r"(?:.*[-_.])?(?:pass(?:word|wd|phrase)?|pwd|secret|credentials?"
    r"|(?:api|access|account|auth|bearer|bot|client|encryption|github|gitlab|hf|private|refresh|secret|signing|wandb)"
    r"[-_.]?(?:key|token))|token",
    re.IGNORECASE,
)
_HIDDEN = "(a secret)"

# Whether the arguments name a config: `experiment_command` has read them. The config of the run says all of it then.
_is_experiment = False


@dataclass(frozen=True)
class Start:
    """How a process was started. A manifest has the same fields.

    module: of ``python -m``. command: an installed command of one of the project's packages. With neither, a script.
    arguments: what follows; None for an experiment's command, whose config says what its arguments said.
    hidden: the positions in *arguments* where a secret was. folder: the working folder, from the project's root; None
    if it lies outside the project.
    """

    module: str | None
    command: str | None
    arguments: tuple[str, ...] | None
    hidden: tuple[int, ...]
    folder: str | None


def starts_experiment() -> None:
    """Say that `experiment_command` has read the arguments of this process."""
    global _is_experiment
    _is_experiment = True


def entry_point() -> str | None:
    """Return the file that was started, relative to the project root; None for a notebook, ``-c`` or a file elsewhere.

    For a command of a package, such as ``wine-train``, this is the file of its function.
    """
    script = Path(sys.argv[0]).resolve()
    # A launcher such as pytest's is no script of the project, even if the environment lies in the project's folder.
    if _is_own(script) and script.is_file():
        return script.relative_to(PROJECT_ROOT).as_posix()
    return next((file for _, file in _commands()), None)


def start() -> Start:
    """Return how this process was started."""
    arguments = None if _is_experiment else [as_utf8(each) for each in sys.argv[1:]]
    shown, hidden = without_secrets(arguments or [])
    here = Path(os.getcwd()).resolve()
    return Start(
        module=_module(),
        command=next((name for name, _ in _commands()), None),
        arguments=None if arguments is None else shown,
        hidden=hidden,
        folder=here.relative_to(PROJECT_ROOT).as_posix() if here.is_relative_to(PROJECT_ROOT) else None,
    )


def without_secrets(arguments: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return *arguments* without secrets, and the positions of those that had one.

    A secret is what looks like one, and the value of an option with a name such as ``--password``, written as
    ``--password VALUE``, ``--password=VALUE`` or ``password=VALUE``.
    """
    shown = [redacted(each) for each in arguments]
    for position, argument in enumerate(arguments):
        name, equals, _ = argument.partition("=")
        if not _SECRET_NAME.fullmatch(name.lstrip("-")):
            continue
        following = arguments[position + 1 : position + 2]
        if equals:
            shown[position] = f"{name}={_HIDDEN}"
        elif name.startswith("-") and following and not following[0].startswith("--"):
            shown[position + 1] = _HIDDEN
    hidden = (number for number, pair in enumerate(zip(arguments, shown, strict=True)) if pair[0] != pair[1])
    return tuple(shown), tuple(hidden)


def _is_own(file: Path) -> bool:
    return file.is_relative_to(PROJECT_ROOT) and not file.is_relative_to(Path(sys.prefix).resolve())


def _module() -> str | None:
    """Return the name after ``python -m``, if this process was started so."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    is_started = spec is not None and spec.origin and Path(spec.origin).resolve() == Path(sys.argv[0]).resolve()
    return spec.name if is_started else None


def _commands() -> Iterator[tuple[str, str]]:
    """Yield the name of the command that was started and the file of its function, if the project has that file."""
    script = Path(sys.argv[0])
    if _is_own(script.resolve()) and script.is_file():
        return
    name = script.stem if script.suffix == ".exe" else script.name
    for each in metadata.entry_points(group="console_scripts", name=name):
        file = getattr(sys.modules.get(each.module), "__file__", None)
        if file and _is_own(place := Path(file).resolve()):
            yield name, place.relative_to(PROJECT_ROOT).as_posix()
