"""The archive of a server's files: its whole store as a tar, written and read inside the server's container.

A backup starts this module there with ``python -m``: ``save`` writes the tar to standard output, ``load`` reads one
from standard input, ``list`` writes what the store has, ``delete`` reads such a list and deletes what is still as it
was then, and ``reset-admin DATABASE`` gives the admin's login in a restored database the password of this server.
"""

import json
import os
import shutil
import sys
import tarfile
import tempfile
from typing import IO

# MLflow first: it imports the relay itself, which must not be half imported then.
import mlflow  # noqa: F401

from ..gate.s3 import Relay


def save(store: Relay, stream: IO[bytes]) -> None:
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name in _states(store):
            try:
                found = store.client.get_object(Bucket=store.bucket, Key=name)
            except store.client.exceptions.NoSuchKey:  # deleted since it was listed
                continue
            member = tarfile.TarInfo(name)
            member.size = found["ContentLength"]
            archive.addfile(member, found["Body"])


def load(store: Relay, stream: IO[bytes]) -> None:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            # By a file on disk: an upload seeks, and a stream cannot.
            with archive.extractfile(member) as file, tempfile.TemporaryFile() as whole:
                shutil.copyfileobj(file, whole)
                whole.seek(0)
                store.client.upload_fileobj(whole, store.bucket, member.name)


def list_files(store: Relay, stream: IO[bytes]) -> None:
    stream.write(json.dumps(_states(store)).encode())


def delete(store: Relay, stream: IO[bytes]) -> None:
    then, now = json.load(stream), _states(store)
    for name in (name for name, state in then.items() if now.get(name) == state):
        store.client.delete_object(Bucket=store.bucket, Key=name)


def _states(store: Relay) -> dict[str, str]:
    """Return the name of each file, with a text that changes when somebody writes the file again."""
    pages = store.client.get_paginator("list_objects_v2").paginate(Bucket=store.bucket, Prefix=store.prefix)
    objects = (found for page in pages for found in page.get("Contents", []))
    return {found["Key"]: f"{found['LastModified'].isoformat()} {found['ETag']}" for found in objects}


def reset_admin(database: str) -> None:
    """Give the admin in *database*, beside the server's own, the password that the server was started with.

    Raises MLflow's error if there is no such user.

    A restored database has the logins of the backup, and the person who restores it may know none of their passwords.
    """
    from mlflow.server.auth.config import read_auth_config
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import make_url

    config = read_auth_config()
    logins = SqlAlchemyStore()
    logins.init_db(make_url(config.database_uri).set(database=database).render_as_string(hide_password=False))
    logins.update_user(config.admin_username, password=config.admin_password, is_admin=True)


def main(action: str, *arguments: str) -> None:
    """Run one action of the backup: ``save``, ``load``, ``list``, ``delete`` or ``reset-admin``."""
    if action == "reset-admin":
        reset_admin(*arguments)
        return
    store = Relay(os.environ["MLFLOW_ARTIFACTS_DESTINATION"])
    store.require_bucket()
    if action in ("save", "list"):
        {"save": save, "list": list_files}[action](store, sys.stdout.buffer)
    else:
        {"load": load, "delete": delete}[action](store, sys.stdin.buffer)


if __name__ == "__main__":
    main(*sys.argv[1:])
