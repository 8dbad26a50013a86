"""The process of a reproduction: the recorded entry point, started once more with the code and packages of the run.

The interface that older commits must support. The code of every commit is started like this, however old it is:

- command: ``python ENTRY_POINT --config FILE`` for the command of an experiment, and for runs whose manifest does not
  say how they were started. ENTRY_POINT is the script that the run was started from; FILE holds the resolved config of
  the run. Every other script is started with the arguments in the run's manifest: ``python ENTRY_POINT ARGUMENTS``,
  ``python -m MODULE ARGUMENTS``, or an installed command of the project's packages.
- working directory: the folder of a checkout of the run's commit and patch that the run was started in; the root of the
  project for the command of an experiment, and for a run that was started elsewhere.
- import path: the code of the project and of each package in its folder packages/, and their metadata. Through the
  metadata MLflow finds the entry points of that commit: the gate and the provider of tags.
- ``MLFLOW_TRACKING_URI``: the store that takes the new run.
- ``MLFLOW_RUN_CONTEXT``: tags, as JSON. MLflow sets them on every run that the process creates. ``reproduces`` is the
  id of the recorded run. ``reproducibility.attempt`` is a name of this attempt; by it the new runs are found.
- ``AUTHOR``: who reproduces the run. ``PYTHONHASHSEED``: as the recorded run had it, unset if it was random.
- The variables that steer numeric libraries: as the recorded run had them. Those that name devices or processors of one
  machine stay as they are. The process may use as many processors as the recorded run, if there are as many.
  (A manifest that has neither changes neither.)
- ``REPRODUCIBILITY_PROJECT``: the root of the project once more. (Commits before this variable do not need it.)

A container has the code, its metadata and the working directory in its image, and is not given the last variable.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, TYPE_CHECKING, TypeVar

from ..delivery.journal import JOURNAL_VARIABLE, root
from ..errors import refuse
from ..project import ROOT_VARIABLE, own_packages
from ..provenance.gather import author
from ..provenance.numerics import restored
from ..rules import CLOSED
from ..secrets import recordable
from ..tags import ATTEMPT_TAG, FAILURE_TAG, PARENT_TAG, REPRODUCES
from ..tracking.context import run_context
from ..tracking.failure import Interruption
from ..tracking.recorded import RecordedRun, search_runs
from ..tracking.store import reachable, tracking_uri
from .environment import child_variables

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PATIENCE = 30  # seconds that an interrupted process has to end its run and its files
_SHOWN_LINES = 20
_WRITE_METADATA = "import sys; from importlib import import_module as load; "
_WRITE_METADATA += "load(sys.argv[1]).prepare_metadata_for_build_editable(sys.argv[2])"
# Gives itself at most so many processors, and becomes the Python of the script. Which ones is left to chance, so that
# two reproductions at a time do not share one processor while others do nothing.
_LIMIT = "import os, random, sys; most, free = int(sys.argv[1]), sorted(os.sched_getaffinity(0)); "
_LIMIT += "os.sched_setaffinity(0, random.sample(free, min(most, len(free)))); "
_LIMIT += "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"


# Starts an installed command by its name. The environment of a reproduction has its metadata, and no file for it.
_COMMAND = "import sys; from importlib.metadata import entry_points; sys.argv = sys.argv[1:]; "
_COMMAND += "sys.exit([*entry_points(group='console_scripts', name=sys.argv[0])][0].load()())"

P = TypeVar("P", bound=PurePath)


@dataclass(frozen=True)
class Process:
    """A command, its working directory, and the variables that it gets beside those of this process.

    A variable whose value is None is taken away. script: what the command runs, for messages.
    """

    command: Sequence[str]
    folder: Path
    variables: Mapping[str, str | None]
    script: str


def restarted(recorded: RecordedRun, project: PurePath, config: str) -> list[str]:
    """Return the arguments with which Python starts the entry point of *recorded* in *project* once more.

    *config* is the path of a file with the resolved config of the run.
    """
    start = recorded.manifest.get("start") or {}
    if start.get("module"):
        how = ["-m", start["module"]]
    elif start.get("command"):
        how = ["-P", "-c", _COMMAND, start["command"]]  # -P: as in a command, the working folder is no place of modules
    else:
        how = [str(project / recorded.manifest["entry_point"])]
    return [*how, *(["--config", config] if repeats_config(recorded) else start["arguments"])]


def repeats_config(recorded: RecordedRun) -> bool:
    """Whether a reproduction of *recorded* is given its config as a file, and not the arguments that the run had."""
    return (recorded.manifest.get("start") or {}).get("arguments") is None


def started_in(recorded: RecordedRun, project: P) -> P:
    """Return the folder of *project* in which *recorded* is started once more."""
    start = recorded.manifest.get("start") or {}
    return project if repeats_config(recorded) else project / (start["folder"] or ".")


def contract(attempt: str, recorded: RecordedRun) -> dict[str, str | None]:
    """Return the variables above that are the same here and in a container. *attempt* names this attempt."""
    context = json.dumps(run_context() | {REPRODUCES: recorded.run.info.run_id, ATTEMPT_TAG: attempt})
    variables = {"MLFLOW_TRACKING_URI": tracking_uri(), "MLFLOW_RUN_CONTEXT": context, "AUTHOR": author()}
    hash_seed = recorded.manifest["environment"]["hash_seed"]
    variables |= {} if hash_seed == "random" else {"PYTHONHASHSEED": hash_seed}
    return variables | restored(recorded.manifest)


def limited(recorded: RecordedRun, *arguments: str) -> list[str]:
    """Return the arguments with which Python runs *arguments* on as many processors as *recorded* could use, on Linux.

    If there are fewer, it uses all; the comparison names the difference then.
    """
    processors = (recorded.manifest.get("numerics") or {}).get("processors")
    # -I: no module of the working directory stands in for one of these.
    return [*arguments] if processors is None else ["-I", "-c", _LIMIT, str(processors), *arguments]


def local_process(
    recorded: RecordedRun,
    python: Path,
    project: Path,
    config: Path,
    metadata: Path,
    variables: Mapping[str, str | None],
) -> Process:
    """Return the process that runs the script of *recorded* in *project* on *config*, with *python* and its packages.

    *metadata* is a folder to make. It takes the metadata of the project and of its packages, which are not installed
    into the environment: other commits with the same lock share the environment.
    """
    packages = set(own_packages(project).values())
    if (project / "setup.py").is_file():
        packages.add(project)
    metadata.mkdir()
    for package in sorted(packages):
        _write_metadata(python, package, metadata)
    # The project itself too where it is no package: its scripts may import each other from its root.
    code = [place / "src" if (place / "src").is_dir() else place for place in sorted({project, *packages})]
    own = {
        "PYTHONPATH": os.pathsep.join(map(str, [*code, metadata])),
        "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)]),
        ROOT_VARIABLE: str(project),
        JOURNAL_VARIABLE: str(root()),  # the folder of the reproduction is removed
    }
    arguments = restarted(recorded, project, str(config))
    if hasattr(os, "sched_setaffinity"):
        arguments = limited(recorded, *arguments)
    folder, script = started_in(recorded, project), recorded.manifest["entry_point"]
    return Process([str(python), *arguments], folder, {**variables, **own}, script)


def _write_metadata(python: Path, package: Path, into: Path) -> None:
    """Let the build backend of *package* write its metadata (name, version, entry points) into the folder *into*."""
    file = package / "pyproject.toml"
    build = tomllib.loads(file.read_text("utf-8")).get("build-system", {}) if file.is_file() else {}
    backend = build.get("build-backend", "setuptools.build_meta").partition(":")[0]
    command = [str(python), "-c", _WRITE_METADATA, backend, str(into)]
    done = subprocess.run(command, cwd=package, env=child_variables(), capture_output=True, check=False, text=True)
    if done.returncode:
        reason = recordable((done.stderr.strip().splitlines() or ["it gave no reason"])[-1])
        problem = f"{backend}, which builds {package.name}, cannot write its metadata: {reason}"
        refuse("pyproject.toml", problem, "see that the run's lock has the build backend")


def run_process(client: "MlflowClient", interruption: Interruption, attempt: str, process: Process) -> "list[Run]":
    """Run *process* to its end; return the runs that it recorded, in order, without those inside others.

    A terminal shows the progress of the process. Whatever ends the process, none of its runs is left RUNNING. After an
    interruption signals stay held, so that the caller can tidy up. Raises Refused when no run was recorded.
    """
    wanted = child_variables() | dict(process.variables)
    variables = {name: value for name, value in wanted.items() if value is not None}
    with tempfile.TemporaryFile() as kept:
        # Its progress is for people at a terminal. Its results are shown by the comparison.
        progress = sys.stderr if sys.stderr.isatty() else kept
        try:
            status = _wait(interruption, process, variables, {"stdout": kept, "stderr": progress})
        except BaseException:
            _closed_runs(client, attempt)
            raise
        runs = [run for run in _closed_runs(client, attempt) if PARENT_TAG not in run.data.tags]
        if not runs or any(run.info.status != "FINISHED" for run in runs):
            kept.seek(0)
            lines = kept.read().decode("utf-8", "replace").splitlines()
            print(*lines[-_SHOWN_LINES:], sep="\n", end="\n" * bool(lines), file=sys.stderr)
    if not runs:
        problem = f"{PurePosixPath(process.script).name} ended with status {status} before it recorded a run"
        fix = (
            "its output stands above; look for what the script needs and nothing records, such as a file or a variable"
        )
        refuse("entry point", problem, fix)
    return runs


def _wait(interruption: Interruption, process: Process, variables: Mapping[str, str], output: Mapping[str, IO]) -> int:
    """Run *process* to its end and return its status. A signal to this process is passed on to that one."""
    # In a session of its own, or Ctrl-C would reach it twice: from the terminal and from here.
    options = {"start_new_session": True} if os.name == "posix" else {}
    streams = {"stdin": subprocess.DEVNULL, **output}
    interruption.hold()  # until there is a process to pass a signal on to
    started = subprocess.Popen(process.command, cwd=process.folder, env=variables, **streams, **options)
    try:
        interruption.release()
        return started.wait()
    except BaseException as error:
        interruption.hold()
        # The same signal, so that the run records what ended it. Windows gives Ctrl-C to both by itself.
        if os.name == "posix":
            started.send_signal(signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
        try:
            started.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        raise


def _closed_runs(client: "MlflowClient", attempt: str) -> "list[Run]":
    """Return the runs of *attempt*, oldest first. A run that a killed process left open is closed."""
    with reachable(client.tracking_uri):
        runs = search_runs(client, f"tags.`{ATTEMPT_TAG}` = '{attempt}'")[::-1]
        for run in runs:
            if run.info.status not in CLOSED:
                client.set_tag(run.info.run_id, FAILURE_TAG, "its process ended before the run did")
                client.set_terminated(run.info.run_id, "KILLED")
        return [client.get_run(run.info.run_id) for run in runs]
