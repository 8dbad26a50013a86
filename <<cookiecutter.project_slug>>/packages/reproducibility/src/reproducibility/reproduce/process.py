"""The second run: the recorded entry point, started again as a process, with the run's own code and packages.

What the process is given is all that this project relies on in the code of an older commit:

- ``python ENTRY_POINT --config FILE``, in the root of the project as it was, its packages and their
  metadata on the path;
- ``MLFLOW_TRACKING_URI``, and ``MLFLOW_RUN_CONTEXT`` with the tags that MLflow gives every run the process creates:
  ``reproduces``, the id of the run to reproduce, and ``reproducibility.attempt``, a name for this one attempt;
- ``AUTHOR``, who repeats it, and ``PYTHONHASHSEED`` as the run had it.
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
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import Refused, Violation, refuse
from ..project import own_packages
from ..provenance.gather import author
from ..rules import CLOSED
from ..secrets import recordable
from ..tags import ATTEMPT_TAG, FAILURE_TAG, PARENT_TAG, REPRODUCES
from ..tracking.context import run_context
from ..tracking.failure import Interruption
from ..tracking.recorded import RecordedRun, search_runs
from ..tracking.store import reachable, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PATIENCE = 30  # seconds that an interrupted training gets to end its run and its files
_SHOWN_LINES = 20
# What would lead the process elsewhere: to other packages, or into a run that is going on already.
_MISLEADING = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "PYTHONHASHSEED", "MLFLOW_RUN_ID")
_METADATA = "import sys; from importlib import import_module as load; "
_METADATA += "load(sys.argv[1]).prepare_metadata_for_build_editable(sys.argv[2])"


@dataclass(frozen=True)
class Process:
    """A command, the folder that it starts in, and the variables that it needs beside those of this process."""

    command: Sequence[str]
    folder: Path
    variables: Mapping[str, str]


def contract(attempt: str, recorded: RecordedRun) -> dict[str, str]:
    """Return the variables of the contract above, for the *attempt* of that name to repeat *recorded*."""
    context = json.dumps(run_context() | {REPRODUCES: recorded.run.info.run_id, ATTEMPT_TAG: attempt})
    variables = {"MLFLOW_TRACKING_URI": tracking_uri(), "MLFLOW_RUN_CONTEXT": context, "AUTHOR": author()}
    hash_seed = recorded.manifest["environment"]["hash_seed"]
    return variables | ({} if hash_seed == "random" else {"PYTHONHASHSEED": hash_seed})


def local_process(
    python: Path, project: Path, script: str, config: Path, metadata: Path, variables: Mapping[str, str]
) -> Process:
    """Return how *script* of *project* is run with *python* and its packages, and with *variables* beside its own.

    metadata: a folder to make, for the names, versions and entry points of the project and of the packages that lie in
    it. They are not installed into the environment, which other commits with the same lock share.
    """
    folders = own_packages(project).values()
    metadata.mkdir()
    for folder in folders:
        _write_metadata(python, folder, metadata)
    code = [folder / "src" if (folder / "src").is_dir() else folder for folder in folders]
    own = {
        "PYTHONPATH": os.pathsep.join(map(str, [*code, metadata])),
        "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)]),
    }
    return Process([str(python), str(project / script), "--config", str(config)], project, {**variables, **own})


def _write_metadata(python: Path, package: Path, into: Path) -> None:
    with (package / "pyproject.toml").open("rb") as file:
        build = tomllib.load(file).get("build-system", {})
    backend = build.get("build-backend", "setuptools.build_meta").partition(":")[0]
    command = [str(python), "-c", _METADATA, backend, str(into)]
    made = subprocess.run(command, cwd=package, capture_output=True, check=False, text=True)
    if made.returncode:
        told = recordable((made.stderr.strip().splitlines() or ["it gave no reason"])[-1])
        problem = f"{backend}, which builds {package.name}, cannot tell its name and entry points: {told}"
        refuse("pyproject.toml", problem, "see that the commit has it in its lock")


def run_process(client: "MlflowClient", interruption: Interruption, attempt: str, process: Process) -> "list[Run]":
    """Let *process* train; return the runs that it recorded, in order, without those inside others.

    Its progress is visible on a terminal. Whatever ends it, none of its runs is left RUNNING. After an interruption
    signals are held, for what has to be tidied up. Raises Refused when it recorded no run.
    """
    variables = {name: value for name, value in os.environ.items() if name not in _MISLEADING} | dict(process.variables)
    with tempfile.TemporaryFile() as kept:
        # What it says of its progress is for who watches; its results come as those of the comparison.
        progress = sys.stderr if sys.stderr.isatty() else kept
        try:
            status = _finished(interruption, process, variables, {"stdout": kept, "stderr": progress})
        except BaseException:
            _ended(client, attempt)
            raise
        runs = [run for run in _ended(client, attempt) if PARENT_TAG not in run.data.tags]
        if not runs or any(run.info.status != "FINISHED" for run in runs):
            kept.seek(0)
            lines = kept.read().decode("utf-8", "replace").splitlines()
            print(*lines[-_SHOWN_LINES:], sep="\n", end="\n" * bool(lines), file=sys.stderr)
    if not runs:
        script = next((part for part in process.command if part.endswith(".py")), process.command[0])
        problem = f"{Path(script).name} ended with status {status} before it recorded a run"
        fix = "what it said stands above; a script that can be repeated takes `--config FILE`, as scripts/train.py does"
        raise Refused([Violation("entry point", problem, fix)])
    return runs


def _finished(
    interruption: Interruption, process: Process, variables: Mapping[str, str], output: Mapping[str, IO]
) -> int:
    """Run *process* to its end and return its status; what interrupts this process interrupts that one too."""
    # In a session of its own, or Ctrl-C would reach it twice: from the terminal and from here.
    options = {"start_new_session": True} if os.name == "posix" else {}
    streams = {"stdin": subprocess.DEVNULL, **output}
    interruption.hold()  # until it is known whom to tell
    started = subprocess.Popen(process.command, cwd=process.folder, env=variables, **streams, **options)
    try:
        interruption.release()
        return started.wait()
    except BaseException as error:
        interruption.hold()
        # The same signal, so that the run says what ended it. Windows gives Ctrl-C to both by itself.
        if os.name == "posix":
            started.send_signal(signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
        try:
            started.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        raise


def _ended(client: "MlflowClient", attempt: str) -> "list[Run]":
    """Return the runs of the *attempt*, oldest first; what its process left open, because it was killed, is closed."""
    with reachable(client.tracking_uri):
        runs = search_runs(client, f"tags.`{ATTEMPT_TAG}` = '{attempt}'")[::-1]
        for run in runs:
            if run.info.status not in CLOSED:
                client.set_tag(run.info.run_id, FAILURE_TAG, "its process ended before the run did")
                client.set_terminated(run.info.run_id, "KILLED")
        return [client.get_run(run.info.run_id) for run in runs]
