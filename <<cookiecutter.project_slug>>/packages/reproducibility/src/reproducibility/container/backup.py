"""A backup of the team's server: its database and its files in one folder, with their digests; and its restoration."""

import json
import os
import shutil
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from ..display import say, shown_path
from ..errors import refuse
from ..provenance.data import data_version
from .engine import Program, find_compose
from .stack import DATABASE, SERVER, read_settings, wait

_DUMP, _FILES, _MANIFEST = "database.dump", "files.tar", "manifest.json"
_NAME = "mlflow"  # of the database and of its user
_USER = f"--username={_NAME}"
# How many runs, models, experiments and logins the server holds, beyond those that it was made with.
_COUNT = """
SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM registered_models)
     + (SELECT count(*) FROM experiments) - 1 + (SELECT count(*) FROM users) - 1
"""


def save(folder: Path) -> None:
    """Save the running server into the new *folder*. The server keeps running, and no partial folder is left behind.

    Raises Refused when the folder exists, no server runs, or a step fails.
    """
    if folder.exists():
        refuse("backup", f"{shown_path(folder)} is there already", "name a new folder; it will be made")
    compose = _running()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # For its owner only: it contains the hashes of passwords.
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        refuse("backup", f"{shown_path(folder)} cannot be made ({error.strerror})", "name a folder where you may write")
    try:
        # The files are saved after the database, so every run in the dump has its files in the backup.
        say("saving the database ...")
        compose.save(*_in(DATABASE), "pg_dump", "--format=custom", _USER, _NAME, into=unfinished / _DUMP)
        say("saving the files ...")
        compose.save(*_in(SERVER), *_archive("save"), into=unfinished / _FILES)
        manifest = {"made": datetime.now(UTC).isoformat(timespec="seconds"), "files": _digests(unfinished)}
        (unfinished / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        os.rename(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def restore(folder: Path, *, replace: bool) -> None:
    """Give the running server the content of the backup in *folder*, and wait until the server answers again.

    The admin keeps the login of this server; all other logins are those of the backup. The server changes to the new
    content only when all of it is there. Raises Refused when the backup is not what was saved, when no server runs, and
    when the server holds something that *replace* does not allow to be lost.
    """
    _require_whole(folder)
    compose = _running()
    query = [*_psql(_NAME), "--no-align", "--tuples-only", f"--command={_COUNT}"]
    if (found := compose.answer(*_in(DATABASE), *query)) != "0" and not replace:
        problem = "the server holds something already" if found else "the server's database does not answer"
        fix = "restore into a new server; or add --replace, and what it holds is gone"
        refuse("restore", problem, fix)
    with tempfile.TemporaryDirectory() as scratch:
        # Read before the server has new content: what clients upload from then on is not deleted.
        before = Path(scratch, "before.json")
        compose.save(*_in(SERVER), *_archive("list"), into=before)
        say("restoring the files ...")
        compose.feed(*_in(SERVER), *_archive("load"), source=folder / _FILES)
        say("restoring the database ...")
        _restore_database(compose, folder)
        compose.feed(*_in(SERVER), *_archive("delete"), source=_replaced(before, folder / _FILES))


def _restore_database(compose: Program, folder: Path) -> None:
    """Let the server change to the database of the backup in *folder*, with the login of its own admin."""
    new, old = f"{_NAME}_restored", f"{_NAME}_replaced"
    # Both exist only after a restore that somebody interrupted. With force: what it started may still use one of them.
    drop = [f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in (new, old)]
    _command(compose, *drop, f"CREATE DATABASE {new}")
    pg_restore = ("pg_restore", "--exit-on-error", "--no-owner", _USER, f"--dbname={new}")
    compose.feed(*_in(DATABASE), *pg_restore, source=folder / _DUMP)
    # Before the change: whoever interrupts the restore has the old content with its login, or the new one with it.
    compose.do(*_in(SERVER), *_archive("reset-admin"), new)
    compose.do("stop", SERVER)
    try:
        # In one transaction: there is always a database with the server's name.
        _command(compose, f"ALTER DATABASE {_NAME} RENAME TO {old}; ALTER DATABASE {new} RENAME TO {_NAME}")
    finally:
        compose.do("start", SERVER)
        wait(compose, read_settings())
    _command(compose, f"DROP DATABASE {old}")


def _replaced(before: Path, files: Path) -> Path:
    """Leave in the list *before*, of the files that a server had, only those that its new *files* do not replace."""
    with tarfile.open(files) as archive:
        kept = set(archive.getnames())
    had = json.loads(before.read_text("utf-8"))
    before.write_text(json.dumps({name: state for name, state in had.items() if name not in kept}), "utf-8")
    return before


def _command(compose: Program, *statements: str) -> None:
    """Run each SQL statement on its own, not connected to the server's database, which the statement may rename."""
    quiet = "SET client_min_messages TO warning"
    compose.do(*_in(DATABASE), *_psql("postgres"), *(f"--command={each}" for each in (quiet, *statements)))


def _running() -> Program:
    """Return Compose if the server and its database run; raises Refused otherwise."""
    read_settings()
    compose = find_compose()
    running = (compose.answer("ps", "--services", "--status=running") or "").split()
    if not {SERVER, DATABASE} <= set(running):
        refuse(SERVER, "it does not run", "start it with `nox -s server`")
    return compose


def _require_whole(folder: Path) -> None:
    try:
        expected = dict(json.loads((folder / _MANIFEST).read_text("utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        problem = f"{shown_path(folder)} is no backup: it has no {_MANIFEST} that can be read"
        refuse("restore", problem, "name a folder that `nox -s server -- backup` made")
    found = _digests(folder)
    if wrong := sorted(name for name in (_DUMP, _FILES) if found.get(name) != expected.get(name)):
        problem = f"{', '.join(wrong)} in {shown_path(folder)} is not what was saved"
        refuse("restore", problem, "take another copy of this backup, or another backup")


def _digests(folder: Path) -> dict[str, str]:
    files = data_version(folder, pointers=True).files
    return {file.path: f"blake3:{file.digest}" for file in files if file.path != _MANIFEST}


def _in(service: str) -> tuple[str, ...]:
    return ("exec", "-T", service)


def _psql(database: str) -> tuple[str, ...]:
    return ("psql", "--quiet", "--set=ON_ERROR_STOP=1", _USER, f"--dbname={database}")


def _archive(action: str) -> tuple[str, ...]:
    return ("python", "-W", "ignore", "-m", f"{__package__}.archive", action)
