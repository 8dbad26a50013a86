"""A sweep: what a trial costs beside the training in it, how many jobs help, and what a thousand trials cost."""

import os
import shutil
from pathlib import Path

from .stopwatch import Side, Timing, seconds_and_cpu_of, take_turns
from .table import AtMost, AtMostSeconds, Row, Section
from .workshop import MACHINERY, Workshop

ROUNDS, TRIALS, IDLE = 3, 8, 1000
SAMPLE, IDLER = (Path(__file__).with_name(name) for name in ("sweep_sample.yaml", "sweep_idle.py"))
METHOD = f"""\
Whole commands in the environment of `nox -s sweep`, with an embedded database. A sweep is a grid of {TRIALS} trials of
the sample experiment with 5 trees. Its peer is `repro train` of the same experiment, as often, one after the other:
what a trial costs beside that is its part of the sweep's run, its proposal, and the look into the store behind it. On
two cores four jobs can be no faster than two. A no-op trial is a script that ends before it imports anything: a sweep
of {IDLE:,} of them has the proposals, the processes and the looks into the store. Its peer starts as many such
processes, one after the other, and does nothing else."""


def measure(workshop: Workshop) -> Section:
    """Let the sweeps and the trainings take turns, and return the rows."""
    trials, idle = workshop.size(TRIALS, 2), workshop.size(IDLE, 3)
    train = ["scripts/train.py", "--config", "configs/experiment.yaml", "--set", "model.n_estimators=5"]

    def single() -> dict[str, float]:
        took = [_run(workshop, ["python", *train]) for _ in range(trials)]
        return {"train": sum(wall for wall, _ in took), "train, CPU": sum(cpu for _, cpu in took)}

    jobs = {f"{number} job{'s' * (number > 1)}": number for number in workshop.size((1, 2, 4), (2,))}
    sides: list[Side] = [single, *(_sweep(workshop, name, number, trials) for name, number in jobs.items())]
    times = take_turns("a sweep", sides, workshop.size(ROUNDS))
    peer = f"`repro train`, {trials} times"
    first = next(iter(jobs))
    cost = Timing(
        tuple(
            (one - other) / trials
            for one, other in zip(times[f"{first}, CPU"].rounds, times["train, CPU"].rounds, strict=True)
        )
    )
    each = Timing(tuple(one / trials for one in times["train, CPU"].rounds))
    rows = [Row(f"a sweep of {trials} trials, {name}", times[name], peer, times["train"], AtMost(1.2)) for name in jobs]
    rows.append(
        Row("CPU that a trial costs beside its training", cost, "`repro train`", each, AtMostSeconds(0.5, 0.15))
    )
    took = take_turns("no-op trials", [lambda: _idle(workshop, idle)], 1)
    rows.append(Row(f"a sweep of {idle:,} no-op trials, 2 jobs", took["sweep"], "their processes", took["processes"]))
    return Section("A sweep", METHOD, rows)


def _project(workshop: Workshop, name: str) -> Path:
    project = workshop.folder / name
    if not project.exists():
        shutil.copytree(workshop.project, project, symlinks=True)
    return project


def _run(workshop: Workshop, command: list[str], name: str = "sweep", status: int = 0) -> tuple[float, float]:
    project = _project(workshop, name)
    code = os.pathsep.join([str(project / "src"), str(project / MACHINERY / "src")])
    env = workshop.env | {"PYTHONPATH": code, "PYTHONHASHSEED": "0", "AUTHOR": "Ada Lovelace <ada@example.com>"}
    return seconds_and_cpu_of([workshop.sweep / command[0], *command[1:]], project, env, status)


def _sweep(workshop: Workshop, name: str, jobs: int, trials: int) -> Side:
    """Return the side that makes a grid of *trials*."""
    file = _project(workshop, "sweep") / "configs" / "bench.yaml"
    depths = list(range(1, trials + 1))
    file.write_text(SAMPLE.read_text("utf-8").replace("[1]", str(depths)), encoding="utf-8")

    def side() -> dict[str, float]:
        wall, cpu = _run(workshop, ["repro", "sweep", "configs/bench.yaml", f"--jobs={jobs}"])
        return {name: wall, f"{name}, CPU": cpu}

    return side


def _idle(workshop: Workshop, trials: int) -> dict[str, float]:
    """Make *trials* that do nothing, and start as many processes that do nothing."""
    project = _project(workshop, "idle sweep")
    shutil.copy(IDLER, project / "scripts" / "train.py")
    text = SAMPLE.read_text("utf-8").replace("[1]", f"{{low: 1, high: {trials}}}")
    (project / "configs" / "bench.yaml").write_text(text, encoding="utf-8")
    sweep, _ = _run(workshop, ["repro", "sweep", "configs/bench.yaml", "--jobs=2"], "idle sweep", 1)
    idle = [workshop.sweep / "python", IDLER]
    env = workshop.env | {"REPRODUCIBILITY_TRIAL": "idle"}
    processes = sum(seconds_and_cpu_of(idle, project, env, 2)[0] for _ in range(trials))
    return {"sweep": sweep, "processes": processes}
