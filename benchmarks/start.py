"""The start of the project's command against that of MLflow's, and against a Python that does nothing."""

import os
import shutil
import subprocess
from pathlib import Path

from .stopwatch import Side, require_success, seconds_and_cpu_of, seconds_of, take_turns
from .table import AtMost, AtMostSeconds, Row, Section
from .workshop import MACHINERY, Workshop

ROUNDS, STORE_ROUNDS = 31, 7
AIM = AtMostSeconds(0.1, part=0.1)
OPENING = AtMost(1.3)
RECORD, OPEN = (Path(__file__).with_name(name) for name in ("diff_record.py", "open_client.py"))
METHOD = """\
Whole commands in the project's environment, each started once before it is measured. `repro validate` and `repro diff`
read two runs of ten params in the embedded database. Their peer is a process that imports MLflow, opens the same
database and searches for its runs: no command that reads runs through MLflow takes less."""


def measure(workshop: Workshop) -> Section:
    """Let the commands take turns, and return the rows."""

    def of(program: str, *arguments: str) -> Side:
        command: list[str | Path] = [workshop.child / program, *arguments]
        return lambda: {program: seconds_of(command, workshop.project, workshop.child_env)}

    sides = [of("repro", "--help"), of("mlflow", "--help"), of("python", "-c", "pass")]
    for side in sides:
        side()
    times = take_turns("start of the command", sides, workshop.size(ROUNDS))
    rows = [
        Row("`repro --help`", times["repro"], "`mlflow --help`", times["mlflow"], AIM),
        Row("`repro --help`", times["repro"], "`python -c pass`", times["python"]),
        *reading(workshop),
    ]
    return Section("The start of the command", METHOD, rows)


def reading(workshop: Workshop) -> list[Row]:
    """Record two runs, and let the commands that read them take turns with MLflow alone."""
    project = Path(shutil.copytree(workshop.project, workshop.folder / "start", symlinks=True))
    code = os.pathsep.join([str(project / "src"), str(project / MACHINERY / "src")])
    env = workshop.env | {"AUTHOR": "Ada Lovelace <ada@example.com>", "PYTHONPATH": code}
    record = [workshop.child / "python", shutil.copy(RECORD, project / "scripts"), "10"]
    done = subprocess.run(record, cwd=project, env=env, check=False, capture_output=True, text=True)
    require_success(record, done)
    ids = done.stdout.split()

    def of(name: str, status: int, program: str, *arguments: str | Path) -> Side:
        command = [workshop.child / program, *arguments]

        def side() -> dict[str, float]:
            seconds, cpu = seconds_and_cpu_of(command, project, env, status)
            return {name: seconds, f"{name}, CPU": cpu}

        return side

    peer = "MLflow alone"
    sides = [
        of("validate", 0, "repro", "validate", ids[0]),
        of("diff", 1, "repro", "diff", *ids),
        of(peer, 0, "python", OPEN, f"sqlite:///{project / 'mlflow.db'}"),
    ]
    for side in sides:
        side()
    times = take_turns("start of a command that reads runs", sides, workshop.size(STORE_ROUNDS))
    return [
        Row(f"`repro {name}`{kind}", times[name + kind], peer, times[peer + kind], OPENING)
        for name in ("validate", "diff")
        for kind in ("", ", CPU")
    ]
