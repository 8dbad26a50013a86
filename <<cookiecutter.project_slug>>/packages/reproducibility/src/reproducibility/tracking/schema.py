"""The schema of a database that another version of MLflow made: which of the two is newer, and what to do."""

import re
from importlib import metadata
from importlib.resources import files

# MLflow says the same of an older and of a newer database.
_REFUSED = re.compile(r"out-of-date database schema \(found version (\w+), but expected (\w+)\)")


def schema_problem(uri: str, message: str) -> tuple[str, str] | None:
    """Return what is wrong with the schema of the database at *uri*, a clause, and what to do, a sentence.

    None if MLflow's *message* is about something else. *uri* is shown: it must hold no password.
    """
    if (found := _REFUSED.search(message)) is None:
        return None
    theirs, ours = found.groups()
    this = f"this is MLflow {metadata.version('mlflow-skinny')}, with schema {ours}"
    lock = "install the lock that recorded its last run (git checkout COMMIT -- requirements*.txt, then nox -s dev)"
    if any(file.name.startswith(f"{theirs}_") for file in (files("mlflow.store.db_migrations") / "versions").iterdir()):
        upgrade = f"Copy the database, then upgrade it with `mlflow db upgrade {uri}`"
        return f"an older MLflow made it, with schema {theirs}; {this}", f"{upgrade}; or {lock}"
    return f"a newer MLflow made it, with schema {theirs}; {this}", f"{lock[0].upper()}{lock[1:]}; no MLflow goes back"
