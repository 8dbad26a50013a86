"""The runs that a repository has already: where they are, how many, and how many of them could be made again."""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from reproducibility.errors import refuse
from reproducibility.secrets import recordable, without_credentials

_AUDIT = "from reproducibility.cli import main; main(['audit', '--json'])"


@dataclass(frozen=True)
class Store:
    """One store. finished, comply: its finished runs, and those that could be made again.

    why: the most frequent reason, a clause, or what is known of a store that nobody could audit.
    """

    place: str
    runs: int
    finished: int
    comply: int
    why: str


def find_stores(root: Path, base: str, given: str | None) -> list[Store]:
    """Return the stores in the folder *root*, or the store with the address *given*. Their files stay as they are.

    *base*: the text of the configs/base.yaml whose policy the runs are judged by.
    """
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project")
        (project / "configs").mkdir(parents=True)
        (project / "configs" / "base.yaml").write_text(base, encoding="utf-8")
        if given:
            return [_audited(given, project, without_credentials(given))]
        found = [_file_store(place) for place in sorted(root.glob("**/mlruns")) if place.is_dir()]
        databases = (file for pattern in ("*.db", "*.sqlite", "*.sqlite3") for file in root.glob(pattern))
        for number, database in enumerate(file for file in sorted(databases) if _has_runs(file)):
            copy = Path(folder, f"{number}.db")
            with closing(_opened(database)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)  # opening a store may change it
            found.append(_audited(f"sqlite:///{copy.as_posix()}", project, database.name))
        return [store for store in found if store is not None and store.runs]


def _opened(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)


def _has_runs(database: Path) -> bool:
    try:
        with closing(_opened(database)) as connection:
            return connection.execute("SELECT count(*) FROM runs JOIN experiments USING (experiment_id)") is not None
    except sqlite3.Error:
        return False


def _file_store(folder: Path) -> Store:
    runs = sum(1 for _ in folder.glob("*/*/meta.yaml"))
    why = "MLflow 3 opens no store of files; they stay there to be read, and new runs go to a database"
    return Store(f"{folder.name}/", runs, runs, 0, why)


def _audited(uri: str, project: Path, place: str) -> Store:
    done = _audit(uri, project)
    if "an older MLflow made it" in done.stderr and uri.startswith("sqlite"):  # of the copy
        _run(["-m", "mlflow", "db", "upgrade", uri], {})
        done = _audit(uri, project)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        reason = done.stderr.strip().removeprefix("Error: ").splitlines()
        refuse("store", f"{place} cannot be audited: {recordable(reason[0] if reason else 'no reason')}", "see --store")
    judged = [run for run in report["runs"] if run["verdict"] in ("complies", "does not comply")]
    reasons = Counter(run["problems"][0] for run in judged if run["problems"])
    comply = sum(run["verdict"] == "complies" for run in judged)
    return Store(place, len(report["runs"]), len(judged), comply, reasons.most_common(1)[0][0] if reasons else "")


def _audit(uri: str, project: Path) -> "subprocess.CompletedProcess[str]":
    return _run(["-c", _AUDIT], {"MLFLOW_TRACKING_URI": uri, "REPRODUCIBILITY_PROJECT": str(project)})


def _run(arguments: list[str], variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, encoding="utf-8", check=False)
