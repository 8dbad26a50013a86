"""The audit of a store of many runs: what one run costs beside the start of the command, and the memory it takes."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .stopwatch import require_success, take_turns, usage_of
from .table import All, AtMost, AtMostSeconds, Row, Section
from .workshop import MACHINERY, Workshop

ROUNDS = 3
SMALL, BIG = 1_000, 10_000
PER_RUN = AtMostSeconds(0.004)
MEMORY = AtMost(1.1)
RECORD, COPY = (Path(__file__).with_name(name) for name in ("diff_record.py", "audit_record.py"))
METHOD = """\
`repro audit` as a whole command on the embedded database. Two runs of ten params are recorded; the others are copies of
them, each with a config, params and a manifest of its own. What a run costs is the CPU of the command, less that of the
same command on the two runs, divided by the number of runs."""


def measure(workshop: Workshop) -> Section:
    """Fill two databases, and let the audits of them and of one with two runs take turns."""
    small, big = workshop.size(SMALL, smoke=20), workshop.size(BIG, smoke=300)
    project = Path(shutil.copytree(workshop.project, workshop.folder / "audit", symlinks=True))
    shutil.copy(RECORD, project / "scripts")
    code = os.pathsep.join([str(project / "src"), str(project / MACHINERY / "src")])
    env = workshop.env | {"AUTHOR": "Ada Lovelace <ada@example.com>", "PYTHONPATH": code}
    ids = _python(workshop, project, env, Path("scripts", RECORD.name), "10").split()
    stores = {0: project / "mlflow.db"} | {count: project / f"{count}.db" for count in (small, big)}
    for count in (small, big):
        shutil.copy(stores[0], stores[count])
        _python(workshop, project, env, COPY, stores[count], ids[0], str(count))
    memory: dict[int, list[int]] = {count: [] for count in stores}
    found: dict[int, int] = {}

    def side() -> dict[str, float]:
        cpu = {}
        for count, store in stores.items():
            at = env | {"MLFLOW_TRACKING_URI": f"sqlite:///{store}"}
            used = usage_of([workshop.child / "repro", "audit"], project, at)
            cpu[count] = used.cpu
            memory[count].append(used.memory)
            found[count] = int(used.output.split()[0])
        # Noise may be more than what a few runs take.
        return {f"each of {count:,}": max(cpu[count] - cpu[0], 1e-6) / count for count in (small, big)}

    times = take_turns("audit", [side], workshop.size(ROUNDS))
    per_run = [times[f"each of {count:,}"] for count in (small, big)]
    peak = [max(memory[count]) for count in (small, big)]
    return Section(
        "The audit of a store",
        METHOD,
        [
            Row(f"CPU for each of {big:,} runs", per_run[1], f"each of {small:,}", per_run[0], PER_RUN),
            Row(f"memory with {big:,} runs, in MiB", peak[1], f"with {small:,}", peak[0], MEMORY),
            Row(f"runs found among {big:,} copies", found[big] - len(ids), "the copies", big, All()),
        ],
    )


def _python(workshop: Workshop, project: Path, env: Mapping[str, str], *arguments: str | Path) -> str:
    command = [workshop.child / "python", *arguments]
    done = subprocess.run(command, cwd=project, env=env, check=False, capture_output=True, text=True)
    require_success(command, done)
    return done.stdout
