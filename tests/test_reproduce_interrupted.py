"""A reproduction that is interrupted leaves no worktree, no temporary file and no open run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from reproductions import TinyWorkbench
from signals import default_signals
from workbench import RecordedRun

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signals to processes")

PATIENCE = 600  # seconds, a last resort


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> TinyWorkbench:
    return TinyWorkbench.new(run_in, project, tmp_path_factory.mktemp("interrupted"))


@pytest.fixture(scope="module")
def run_id(workbench: TinyWorkbench) -> str:
    """A run that finished. Its reproduction waits, in the middle, as long as the file HOLD exists."""
    return workbench.train("waits", "quirk=waits")


class Waiting:
    """A reproduction that has reached the middle of its run, as a process, and what it may leave behind."""

    def __init__(self, process: subprocess.Popen[str], reproduction: RecordedRun, scratch: Path) -> None:
        self.process, self.reproduction, self.scratch = process, reproduction, scratch


@contextmanager
def waiting(workbench: TinyWorkbench, run_id: str, folder: Path) -> Iterator[Waiting]:
    """Start the reproduction of *run_id* beside the test, and wait until its run is in the middle."""
    hold, scratch = folder / "hold", folder / "scratch"
    hold.touch()
    scratch.mkdir()
    before = {run.id for run in workbench.every_run()}
    env = {"HOLD": str(hold), "TMPDIR": str(scratch)}
    done = workbench.run("python", "-c", "import json, os; print(json.dumps(dict(os.environ)))", env=env)
    variables = json.loads(done.stdout)
    with subprocess.Popen(
        [Path(variables["PATH"].split(os.pathsep)[0], "repro"), "reproduce", run_id],
        cwd=workbench.path,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=default_signals,
    ) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while not Path(f"{hold}.reached").exists():
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < deadline, "the reproduction did not reach the middle of its run"
                time.sleep(0.05)
            (reproduction,) = (run for run in workbench.every_run() if run.id not in before)
            yield Waiting(process, reproduction, scratch)
        finally:
            hold.unlink()
            process.kill()


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [(signal.SIGINT, 130, "interrupted with Ctrl-C"), (signal.SIGTERM, 143, "terminated by SIGTERM")],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_an_interruption_ends_the_run_and_leaves_nothing(
    workbench: TinyWorkbench, run_id: str, tmp_path: Path, sent: signal.Signals, status: int, reason: str
) -> None:
    with waiting(workbench, run_id, tmp_path) as reproducing:
        reproducing.process.send_signal(sent)
        assert reproducing.process.wait(timeout=PATIENCE) == status
    reproduction = workbench.by_id(reproducing.reproduction.id)
    assert reproduction.tags["reproduces"] == run_id
    assert (reproduction.status, reproduction.tags["failure"]) == ("FAILED", reason)
    assert not (workbench.path / ".git" / "worktrees").exists()
    assert list(reproducing.scratch.iterdir()) == []


def test_a_run_whose_process_is_killed_is_closed(workbench: TinyWorkbench, run_id: str, tmp_path: Path) -> None:
    with waiting(workbench, run_id, tmp_path) as reproducing:
        os.kill(int(reproducing.reproduction.tags["reproducibility.process"].split()[-2]), signal.SIGKILL)
        assert reproducing.process.wait(timeout=PATIENCE) == 2
        assert "ended KILLED: its process ended before the run did" in reproducing.process.stderr.read()
    assert workbench.by_id(reproducing.reproduction.id).status == "KILLED"
    assert not (workbench.path / ".git" / "worktrees").exists()
    # Only a killed process can leave this; the next run takes it away.
    (left,) = reproducing.scratch.iterdir()
    assert left.name.startswith("reproducibility-open-runs-")
    done = workbench.run("python", "scripts/tiny.py", "--config", "configs/tiny.yaml", env={"TMPDIR": str(left.parent)})
    assert done.returncode == 0, done.stderr
    assert list(left.parent.iterdir()) == []
