"""Sweeps: each trial is a run of its own, made exactly once, on this machine or by the workers of a scheduler."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, copytree
from subprocess import CompletedProcess
from typing import Any

import pytest
from conftest import code_of
from dask_cluster import DaskCluster, programs_first
from signals import default_signals
from workbench import SCRIPTS, RecordedRun, Workbench, copy_run

EXPERIMENT = "extends: base.yaml\nmodel:\n  rate: 0.5\n  depth: 2\n  kind: plain\n"
HEAD = "extends: experiment.yaml\nsweep:\n  metric: loss\n  direction: minimize\n"
RATE = "{low: 0.01, high: 1, log: true}"
SWEEPS = {
    "tpe": f"  sampler: tpe\n  trials: 4\n  seeds: [1, 2]\n  space:\n    model:\n      rate: {RATE}\n",
    "killed": "  sampler: grid\n  space:\n    model:\n      rate: [0.1, 0.2, 0.3]\n",
    # 40 trials. The experiment refuses 32 of these combinations, which costs next to nothing; one of the others fails.
    "many": "  sampler: grid\n  space:\n    model:\n      rate: {low: 0.1, high: 1, step: 0.1}\n"
    "      depth: [null, 3]\n      kind: [plain, fancy]\n",
    "wrong": "  sampler: grid\n  space:\n    model:\n      rte: [1]\n      rate: [0.5, 2]\n",
}
TRIAL, SWEEP, PARENT = "reproducibility.trial", "reproducibility.sweep", "mlflow.parentRunId"


@dataclass(frozen=True)
class Driver:
    """The process of a sweep, and the file with what it says on standard error."""

    process: "subprocess.Popen[str]"
    file: Path

    @property
    def errors(self) -> str:
        return self.file.read_text("utf-8")

    def finish(self) -> CompletedProcess[str]:
        output, _ = self.process.communicate(timeout=600)
        assert "Traceback" not in self.errors, self.errors
        return CompletedProcess(self.process.args, self.process.returncode, output, self.errors)

    def wait_until(self, happened: Callable[[], Any]) -> Any:
        """Return what *happened* returns, as soon as that is not empty."""
        until = time.monotonic() + 600
        while not (found := happened()):
            assert self.process.poll() is None, self.errors
            assert time.monotonic() < until
            time.sleep(0.1)
        return found


@dataclass(frozen=True)
class Held:
    """A file; as long as it exists, each trial that has logged its metric waits, and leaves a file beside it."""

    file: Path

    def wait_for(self, count: int, driver: Driver) -> set[str]:
        """Return the ids of the runs that wait, when there are *count*."""

        def waiting() -> set[str]:
            found = {path.suffix[1:] for path in self.file.parent.glob(f"{self.file.name}.*")}
            return found if len(found) >= count else set()

        return driver.wait_until(waiting)


class SweepWorkbench(Workbench):
    """A project whose scripts/train.py is tests/scripts/swept.py, in the environment of `nox -s sweep`."""

    def __init__(self, path: Path, python: Path, clean_env: dict[str, str], run_in: Callable[..., Any]) -> None:
        super().__init__(run_in, path)
        self.programs = python.parent
        self.env = clean_env | {"PATH": programs_first(python.parent, clean_env["PATH"]), "PYTHONHASHSEED": "0"}
        self.env |= {"AUTHOR": "Ada Lovelace <ada@example.com>"}
        copyfile(SCRIPTS / "swept.py", path / "scripts" / "train.py")
        self.write("configs/experiment.yaml", EXPERIMENT)
        for name, rest in SWEEPS.items():
            self.write(f"configs/{name}.yaml", HEAD + rest)
        self.commit()

    def start(self, *arguments: str, **variables: str) -> "Driver":
        """Start `repro` with *arguments*; a signal reaches it as from a terminal."""
        env = self.env | {"PYTHONPATH": code_of(self.path)} | variables
        errors = self.path.parent / f"errors-{time.monotonic_ns()}"
        with open(errors, "wb") as log:
            process = subprocess.Popen(
                [self.programs / "repro", *arguments],
                cwd=self.path,
                env=env,
                encoding="utf-8",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                preexec_fn=default_signals,
            )
        return Driver(process, errors)

    def sweep(self, name: str, *options: str, **variables: str) -> CompletedProcess[str]:
        return self.start("sweep", f"configs/{name}.yaml", *options, **variables).finish()

    def held(self, name: str) -> Held:
        file = self.path.parent / f"hold-{name}"
        file.touch()
        return Held(file)

    def trials(self, sweep: str) -> list[RecordedRun]:
        return [run for run in self.every_run() if run.tags.get(SWEEP) == sweep and TRIAL in run.tags]


@pytest.fixture(scope="module")
def workbench(
    project: Path, sweep_python: Path, clean_env: dict[str, str], run_in, tmp_path_factory: pytest.TempPathFactory
) -> SweepWorkbench:
    path = Path(copytree(project, tmp_path_factory.mktemp("sweep") / project.name))
    return SweepWorkbench(path, sweep_python, clean_env, run_in)


@pytest.fixture(scope="module")
def report(workbench: SweepWorkbench) -> dict[str, Any]:
    """What `repro sweep --json` says of a sweep by tpe, of two combinations with two seeds each."""
    done = workbench.sweep("tpe", "--jobs=2", "--json", f"--html={workbench.path.parent / 'page.html'}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_wrong_sweep_is_refused_before_anything_starts(workbench: SweepWorkbench) -> None:
    done = workbench.sweep("wrong")
    assert done.returncode == 2
    assert "configs/wrong.yaml:8: sweep.space.model.rte: unknown key" in done.stderr
    assert "configs/wrong.yaml:9: sweep.space.model.rate: input should be less than or equal to 1" in done.stderr
    assert not (workbench.path / ".cache" / "sweeps").exists()


def test_each_trial_is_a_whole_run_of_its_own_inside_the_run_of_the_sweep(workbench, report) -> None:
    trials = workbench.trials(report["sweep"])
    assert (report["holds"], report["finished"], len(trials)) == (True, 4, 4)
    (parent,) = [run for run in workbench.every_run() if run.name == "sweep of configs/tpe.yaml"]
    assert parent.status == "FINISHED"
    assert {run.tags[TRIAL] for run in trials} == set("0123")
    for run in trials:
        assert (run.status, run.tags[PARENT]) == ("FINISHED", parent.id)
        assert run.tags["config_digest"] != parent.tags["config_digest"]
        manifest = json.loads((run.evidence / "manifest.json").read_text("utf-8"))
        assert manifest["entry_point"] == "scripts/train.py"
        # The command that a person would type, and threads that do not fight.
        assert set(manifest["overrides"]) == {f"model.rate={run.params['model.rate']}", f"seed={run.params['seed']}"}
        share = str(max(1, len(os.sched_getaffinity(0)) // 2)) if hasattr(os, "sched_getaffinity") else None
        assert share is None or manifest["numerics"]["variables"]["OPENBLAS_NUM_THREADS"] == share
    inside = [run for run in workbench.every_run() if run.name == "inside"]
    assert {run.tags[PARENT] for run in inside} == {run.id for run in trials}
    assert not any(TRIAL in run.tags or SWEEP in run.tags for run in inside)


def test_a_combination_counts_with_the_mean_of_its_seeds_and_their_spread(workbench, report) -> None:
    values = {run.id: run.metrics["loss"] for run in workbench.trials(report["sweep"])}
    means = [each["mean"] for each in report["combinations"]]
    assert means == sorted(means)
    for each in report["combinations"]:
        one, other = (values[trial["run_id"]] for trial in each["trials"])
        assert each["mean"] == pytest.approx((one + other) / 2)
        assert each["interval"] == pytest.approx(12.706 * abs(one - other) / 2)


def test_a_trial_is_validated_and_reproduced_alone_and_compared(workbench, report) -> None:
    first, second = (each["trials"][0]["run_id"] for each in report["combinations"])
    assert workbench.run("repro", "validate", first).returncode == 0
    done = workbench.run("repro", "reproduce", first, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["verdict"], len(verdict["runs"])) == ("identical", 2)  # the trial, and the run inside it
    assert len(workbench.trials(report["sweep"])) == 4
    done = workbench.run("repro", "diff", first, second, "--json")
    assert done.returncode == 1, done.stderr
    assert [(each["kind"], each["name"]) for each in json.loads(done.stdout)["input_differences"]] == [
        ("config", "model.rate")
    ]


def test_a_sweep_itself_is_not_reproduced_and_is_not_the_last_run(workbench, report) -> None:
    (parent,) = [run for run in workbench.every_run() if run.name == "sweep of configs/tpe.yaml"]
    done = workbench.run("repro", "reproduce", parent.id)
    assert done.returncode == 2
    assert "it is a sweep" in done.stderr
    assert parent.id not in workbench.run("repro", "validate", "last", env={"AUTHOR": workbench.env["AUTHOR"]}).stdout


def test_the_page_stands_alone_and_shows_every_chart(workbench, report) -> None:
    page = (workbench.path.parent / "page.html").read_text("utf-8")
    titles = ["The metric over trials", "Combinations", "Spread over seeds", "All combinations, the best first"]
    # Two combinations may be too few to say how important a key is.
    assert [title for title in re.findall("<h2>(.*?)</h2>", page) if title != "Importance of each key"] == titles
    assert not re.search(r"<(script|img|link|iframe)|\b(src|href|style|on\w+)=", page)
    assert "default-src 'none'" in page
    for each in report["combinations"]:
        assert all(trial["run_id"] in page for trial in each["trials"])


def test_whatever_is_killed_each_trial_counts_once_and_none_stays_running(workbench: SweepWorkbench) -> None:
    hold = workbench.held("killed")
    variables = {"HOLD": str(hold.file)}
    driver = workbench.start("sweep", "configs/killed.yaml", "--jobs=2", **variables)
    hold.wait_for(2, driver)
    os.kill(process_of(workbench, hold.wait_for(2, driver)), signal.SIGKILL)
    hold.wait_for(3, driver)  # the same trial once more
    driver.process.send_signal(signal.SIGINT)
    done = driver.finish()
    assert done.returncode == 130, done.stderr
    assert "nox -s sweep -- configs/killed.yaml --resume" in done.stderr
    reasons = Counter(run.tags["failure"] for run in workbench.every_run() if run.status != "FINISHED")
    assert reasons == {"its process was killed by signal 9": 1, "interrupted with Ctrl-C": 3}  # two trials, the sweep
    driver = workbench.start("sweep", "configs/killed.yaml", "--jobs=2", "--resume", **variables)
    hold.wait_for(5, driver)
    driver.process.kill()
    driver.process.communicate()
    hold.file.unlink()
    done = workbench.sweep("killed", "--jobs=2", "--resume", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    trials = workbench.trials(report["sweep"])
    assert Counter(run.status for run in trials) == {"FINISHED": 3, "FAILED": 5}
    assert {run.tags[TRIAL] for run in trials if run.status == "FINISHED"} == set("012")
    assert not [run for run in workbench.every_run() if run.status == "RUNNING"]
    # A worker that is given a finished trial again, and a trial that finished twice.
    first = next(run for run in trials if (run.tags[TRIAL], run.status) == ("0", "FINISHED"))
    asked = {"sweep": report["sweep"], "number": 0, "parent": first.tags[PARENT]}
    command = [workbench.programs / "python", "scripts/train.py", "--config", "configs/experiment.yaml"]
    env = workbench.env | {"PYTHONPATH": code_of(workbench.path), "REPRODUCIBILITY_TRIAL": json.dumps(asked)}
    done = subprocess.run(command, cwd=workbench.path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, first.id in done.stdout) == (0, True), done.stderr
    assert len(workbench.trials(report["sweep"])) == len(trials)
    with closing(sqlite3.connect(workbench.store)) as database, database:
        copy_run(database, first, "f" * 32, "twice")
    again = workbench.sweep("killed", "--resume", "--json")
    assert (again.returncode, json.loads(again.stdout)) == (0, report)
    assert workbench.runs()["twice"].tags["superseded_by"] == first.id
    assert len(workbench.trials(report["sweep"])) == len(trials) + 1


def test_a_trial_compares_once_more_what_it_runs_on(workbench: SweepWorkbench) -> None:
    command = [workbench.programs / "python", "scripts/train.py", "--config", "configs/experiment.yaml"]
    expected = {"git_commit": "0" * 40, "python": "CPython 2.7"}
    env = workbench.env | {"PYTHONPATH": code_of(workbench.path), "REPRODUCIBILITY_EXPECTED": json.dumps(expected)}
    done = subprocess.run(command, cwd=workbench.path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.search(rf"git_commit is \w{{40}} instead of {'0' * 40}", done.stderr)
    assert "instead of CPython 2.7" in done.stderr


def process_of(workbench: SweepWorkbench, run_ids: set[str]) -> int:
    """Return the process that records one of the runs."""
    run = next(run for run in workbench.every_run() if run.id in run_ids)
    return int(run.tags["reproducibility.process"].rsplit(" ", 2)[1])


def test_a_sweep_goes_on_only_with_what_it_began_with(workbench: SweepWorkbench, report) -> None:
    before = (workbench.path / "configs/tpe.yaml").read_text("utf-8")
    workbench.edit("configs/tpe.yaml", "trials: 4", "trials: 6")
    try:
        done = workbench.sweep("tpe", "--resume")
    finally:
        workbench.write("configs/tpe.yaml", before)
    assert done.returncode == 2
    assert re.search(r"uncommitted changes is blake3:\w+ instead of none", done.stderr.replace("\n", " "))
    assert "one of these changed since the sweep began: configs/tpe.yaml" in done.stderr


@pytest.fixture
def cluster(workbench: SweepWorkbench, tmp_path: Path) -> Iterator[DaskCluster]:
    env = {name: value for name, value in workbench.env.items() if name != "PYTHONHASHSEED"}
    with DaskCluster(workbench.programs, env, tmp_path) as cluster:
        yield cluster


def test_workers_prove_themselves_and_a_killed_one_loses_nothing(
    workbench: SweepWorkbench, cluster: DaskCluster, tmp_path: Path
) -> None:
    other = Path(copytree(workbench.path, tmp_path / "other" / workbench.path.name))
    subprocess.run(["git", "-C", other, "commit", "--quiet", "--allow-empty", "-m", "x"], env=workbench.env, check=True)
    hold = workbench.held("workers")
    workers = {name: cluster.worker(name, workbench.path, HOLD=str(hold.file)) for name in ("one", "two")}
    driver = workbench.start("sweep", "configs/many.yaml", f"--scheduler={cluster.address}", "--json")
    waiting = hold.wait_for(2, driver)
    cluster.worker("stranger", other)
    workers["one"].kill()
    # The trial dies with its worker, and the other worker makes it once more.
    killed = driver.wait_until(
        lambda: [run for run in workbench.every_run() if run.id in waiting and run.status == "FAILED"]
    )[0]
    driver.wait_until(lambda: "gets no trial" in driver.errors)
    hold.file.unlink()
    done = driver.finish()
    assert done.returncode == 1, done.stderr
    assert re.search(r"worker stranger at \S+ gets no trial: git_commit is \w{40} instead of \w{40}\n", done.stderr)
    report = json.loads(done.stdout)
    trials = workbench.trials(report["sweep"])
    assert killed.tags["failure"] == "terminated by SIGTERM"
    finished = [run.tags[TRIAL] for run in trials if run.status == "FINISHED"]
    assert (len(finished), len(set(finished)), report["finished"], report["trials"]) == (6, 6, 6, 40)
    failed = Counter(run.tags[TRIAL] for run in trials if run.status == "FAILED")
    assert set(finished).isdisjoint(failed - Counter([killed.tags[TRIAL]]))
    reasons = {
        reason: count for count, reason in sorted((count, reason) for reason, count in report["failures"].items())
    }
    assert list(reasons.values()) == [2, 32], reasons
    for expected, reason in zip(("ValueError: a fancy model", "a large rate needs a depth of 2"), reasons, strict=True):
        assert expected in reason
    assert not [run for run in workbench.every_run() if run.status == "RUNNING"]


def test_without_a_worker_that_proves_itself_the_sweep_is_refused(
    workbench: SweepWorkbench, cluster: DaskCluster, tmp_path: Path
) -> None:
    other = Path(copytree(workbench.path, tmp_path / "other" / workbench.path.name))
    (other / "data" / "penguins.csv").write_text("another,file\n", encoding="utf-8")
    cluster.worker("stranger", other)
    before = [run.id for run in workbench.every_run()]
    done = workbench.sweep("killed", f"--scheduler={cluster.address}")
    assert done.returncode == 2, done.stderr
    assert "no worker is left that runs what the sweep runs on" in done.stderr
    assert "data_version is" in done.stderr
    assert [run.id for run in workbench.every_run()] == before  # nothing was begun
