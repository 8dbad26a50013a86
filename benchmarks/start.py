"""The start of the project's command against that of MLflow's, and against a Python that does nothing."""

from pathlib import Path

from .stopwatch import Side, seconds_of, take_turns
from .table import AtMostSeconds, Row, Section
from .workshop import Workshop

ROUNDS = 31
AIM = AtMostSeconds(0.1, part=0.1)
METHOD = """\
Whole commands in the project's environment, each started once before it is measured."""


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
    ]
    return Section("The start of the command", METHOD, rows)
