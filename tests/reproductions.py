"""What the tests of `repro reproduce` share: a project with a tiny experiment, and the answers of the command."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess
from typing import Any

from workbench import RecordedRun, Workbench, store_at

NOTES = "src/penguin_classifier/notes.py"


@dataclass(frozen=True)
class Answer:
    """What the command answered with ``--json``: its exit status, the report, and its errors."""

    status: int
    report: dict[str, Any]
    errors: str

    @property
    def differing(self) -> set[tuple[str, str]]:
        """Kind and name of everything that differs."""
        found = (finding for run in self.report["runs"] for finding in run["findings"])
        return {(finding["kind"], finding["name"]) for finding in found if finding["outcome"] == "different"}


class TinyWorkbench(Workbench):
    """A project with the tiny experiment. Its policy is the strictest; its data is a folder that git ignores."""

    def __init__(self, run_in: Callable[..., CompletedProcess[str]], path: Path, store: Path) -> None:
        super().__init__(run_in, path)
        self.store = store

    @classmethod
    def new(cls, run_in: Callable[..., CompletedProcess[str]], project: Path, folder: Path) -> "TinyWorkbench":
        """Make a copy of *project* in *folder*, with the tiny experiment in its commit, and a store beside it."""
        made = cls(run_in, Path(copytree(project, folder / project.name)), folder / "store" / "mlflow.db")
        made.edit("configs/base.yaml", "uncommitted_config: snapshot", "uncommitted_config: refuse")
        made.edit(".gitignore", ".cache/\n", ".cache/\n/data/raw/\n")
        made.write(NOTES, 'NOTE = "first"\n')
        made.add("tiny.py", "fixed.py", "stubborn.py", "lecture.py", "dependent.py")
        made.write("configs/tiny.yaml", "extends: base.yaml\ndata:\n  path: data/raw\nrate: 0.5\nquirk: none\n")
        made.write("data/raw/a.csv", "1,2\n")
        made.write("data/raw/more/b.csv", "3,4\n")
        made.commit()
        return made

    def run(self, *argv: str | Path, env: dict[str, str | None] | None = None, **options: Any) -> CompletedProcess[str]:
        return super().run(*argv, env=store_at(self.store) | dict(env or {}), **options)

    def train(self, name: str, *changes: str, script: str = "tiny.py", env: dict[str, str] | None = None) -> str:
        """Record a run of *script* under *name*, with *changes* of the config; return its id."""
        options = ["--config", "configs/tiny.yaml", *(f"--set={change}" for change in changes)]
        options = options if script in ("tiny.py", "dependent.py") else []
        done = self.run("python", f"scripts/{script}", *options, env={"RUN_NAME": name} | dict(env or {}))
        assert done.returncode == 0, done.stdout + done.stderr
        return self.runs()[name].id

    def reproduce(self, *options: str, **more: Any) -> Answer:
        done = self.run("repro", "reproduce", *options, "--json", **more)
        assert "Traceback" not in done.stderr or "scripts/" in done.stderr, done.stderr  # only the experiment's own
        return Answer(done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr)

    def identical(self, run_id: str, *options: str, **more: Any) -> RecordedRun:
        """Assert that the reproduction of a run is identical; return the reproduction."""
        answer = self.reproduce(run_id, *options, **more)
        assert answer.status == 0, (answer.report, answer.errors)
        assert (answer.report["verdict"], answer.differing, answer.report["forced"]) == ("identical", set(), [])
        reproduction = self.by_id(answer.report["reproduction"])
        assert (reproduction.status, reproduction.tags["reproduces"]) == ("FINISHED", answer.report["run"])
        return reproduction

    def refused(self, *options: str, **more: Any) -> str:
        """Assert that the run could not be reproduced; return why, in one line."""
        answer = self.reproduce(*options, **more)
        assert (answer.status, answer.report) == (2, {}), (answer.report, answer.errors)
        return " ".join(answer.errors.split())

    def elsewhere(self, path: Path) -> "TinyWorkbench":
        """Return the workbench of another copy of the project at *path*; the store is the same."""
        return type(self)(self._run_in, path, self.store)

    def clone(self, remote: Path, path: Path, *options: str) -> "TinyWorkbench":
        """Return the workbench of a new clone of *remote*, with the data that git ignores."""
        self.git("clone", "--quiet", *options, remote.as_uri(), str(path))
        self.identify(path)
        copytree(self.path / "data" / "raw", path / "data" / "raw", dirs_exist_ok=True)
        return self.elsewhere(path)

    def identify(self, path: Path) -> None:
        """Let the repository at *path* have the same git identity as this one."""
        for key in ("user.name", "user.email"):
            self.git("-C", str(path), "config", key, self.git("config", key))

    def by_id(self, run_id: str) -> RecordedRun:
        return next(run for run in self.every_run() if run.id == run_id)


def remote_of(workbench: TinyWorkbench, folder: Path) -> Path:
    """Return a bare clone of the project in *folder*. Its newest commit is one that the project does not have."""
    remote = folder / "origin.git"
    workbench.git("clone", "--quiet", "--bare", str(workbench.path), str(remote))
    writer = workbench.clone(remote, folder / "writer")
    writer.write(NOTES, 'NOTE = "newer"\n')
    writer.commit()
    writer.git("push", "--quiet", "origin", "HEAD:main")
    return remote
