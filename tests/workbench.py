"""A copy of the rendered project to experiment in: a user's scripts are started, and the store is read by SQL.

The programs of the tests lie in tests/scripts/. `workbench.script("x.py", ...)` runs one from there, as code that is no
file of the project. `workbench.add("x.py")` copies one to scripts/ of the project, where `workbench.run("python",
"scripts/x.py")` starts it as a user's own. `copy_run(database, run, run_id, name)` copies a run by SQL.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, copytree
from subprocess import CompletedProcess
from typing import Any

SCRIPTS = Path(__file__).resolve().parent / "scripts"
# Every experiment prints this from inside its run: where it is missing, nothing was computed.
INSIDE = "the experiment is running"


@dataclass(frozen=True)
class RecordedRun:
    """One run as the store has it; `evidence` is the folder reproducibility among its artifacts."""

    id: str
    name: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    evidence: Path


def store_at(path: Path) -> dict[str, str]:
    """The environment in which runs go to the database at *path*."""
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{path.as_posix()}"}


def copy_run(
    database: sqlite3.Connection,
    run: RecordedRun,
    run_id: str,
    name: str,
    tables: Sequence[str] = ("runs", "tags", "params", "latest_metrics", "metrics"),
) -> Path:
    """Copy *run* in *database* under another id and name, with its evidence; return the folder of that evidence.

    tables: what is copied; a run needs ``runs`` at least. The caller commits.
    """
    for table in tables:
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        copied = ", ".join("?" if column == "run_uuid" else column for column in columns)
        query = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {copied} FROM {table} WHERE run_uuid = ?"  # noqa: S608
        database.execute(query, (run_id, run.id))
    moved = "UPDATE runs SET name = ?, artifact_uri = replace(artifact_uri, ?, ?) WHERE run_uuid = ?"
    database.execute(moved, (name, run.id, run_id, run_id))
    return Path(copytree(run.evidence, str(run.evidence).replace(run.id, run_id)))


class Workbench:
    """A project at *path* with a git repository of its own. `machinery` is its copy of the machinery's package."""

    def __init__(self, run_in: Callable[..., CompletedProcess[str]], path: Path) -> None:
        self._run_in = run_in
        self.path = path
        self.machinery = path / "packages" / "reproducibility" / "src" / "reproducibility"
        self.store = path / "mlflow.db"

    def run(self, *argv: str | Path, **options: Any) -> CompletedProcess[str]:
        """Run a command in the project. The time limit is far beyond what any command takes."""
        return self._run_in(self.path, *argv, **({"timeout": 600} | options))

    def script(self, name: str, *arguments: str | Path, **options: Any) -> CompletedProcess[str]:
        """Run tests/scripts/*name* in the project, whose code it can import, as a program from elsewhere."""
        return self.run("python", SCRIPTS / name, *arguments, **options)

    def repro_each(self, commands: Mapping[str, Sequence[str]], **options: Any) -> dict[str, CompletedProcess[str]]:
        """Run `repro` with the arguments of each of *commands*, {name: arguments}, in one process: {name: result}."""
        done = self.script("repro_each.py", json.dumps(commands), **options)
        assert done.returncode == 0, done.stderr
        results = json.loads(done.stdout.splitlines()[-1])
        return {name: CompletedProcess(["repro", *commands[name]], *result) for name, result in results.items()}

    def add(self, *names: str) -> None:
        """Copy each of tests/scripts/*names* to the project's folder scripts/, as a user's own file."""
        for name in names:
            copyfile(SCRIPTS / name, self.path / "scripts" / name)

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments, check=True).stdout.strip()

    def write(self, name: str, content: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="\n")
        return path

    def edit(self, name: str, before: str, after: str) -> None:
        """Replace *before*, which must be there, in a file."""
        content = (self.path / name).read_text(encoding="utf-8")
        assert before in content, f"{name} has no {before!r}"
        self.write(name, content.replace(before, after))

    def commit(self) -> str:
        """Commit everything that git does not ignore; return the commit's id."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=Another step")
        return self.git("rev-parse", "HEAD")

    def runs(self, store: Path | None = None) -> dict[str, RecordedRun]:
        """Return the runs in the store, {name of the run: run}; none if there is no store."""
        return {run.name: run for run in self.every_run(store)}

    def every_run(self, store: Path | None = None) -> list[RecordedRun]:
        """Return every run in the store, the oldest first, also runs of the same name."""
        store = store or self.store
        if not store.exists():
            return []
        with closing(sqlite3.connect(store)) as database:

            def pairs(table: str, run_id: str) -> dict[str, Any]:
                return dict(database.execute(f"SELECT key, value FROM {table} WHERE run_uuid = ?", (run_id,)))  # noqa: S608

            return [
                RecordedRun(
                    run_id,
                    name,
                    status,
                    pairs("tags", run_id),
                    pairs("params", run_id),
                    pairs("latest_metrics", run_id),
                    Path(uri.removeprefix("file://")) / "reproducibility",
                )
                for run_id, name, status, uri in database.execute(
                    "SELECT run_uuid, name, status, artifact_uri FROM runs ORDER BY start_time"
                )
            ]
