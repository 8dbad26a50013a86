"""The archive of a server's files: everything in its store as a tar, made and read where the store can be reached.

A backup runs it in the server's container, by ``python -m``: ``save`` writes the tar to standard output, ``load`` reads
one from standard input, and ``keep`` reads one and deletes from the store what is not in it.
"""

import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from typing import IO

# MLflow first: it loads the relay itself while it is imported, and would find half of one.
import mlflow  # noqa: F401

from .relay import Relay


def save(store: Relay, stream: IO[bytes]) -> None:
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name in _names(store):
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
            # On disk in between: an upload goes back and forth in its file, and a stream goes forth only.
            with archive.extractfile(member) as file, tempfile.TemporaryFile() as whole:
                shutil.copyfileobj(file, whole)
                whole.seek(0)
                store.client.upload_fileobj(whole, store.bucket, member.name)


def keep(store: Relay, stream: IO[bytes]) -> None:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        kept = {member.name for member in archive}
    for name in [name for name in _names(store) if name not in kept]:
        store.client.delete_object(Bucket=store.bucket, Key=name)


def _names(store: Relay) -> Iterator[str]:
    for page in store.client.get_paginator("list_objects_v2").paginate(Bucket=store.bucket, Prefix=store.prefix):
        yield from (found["Key"] for found in page.get("Contents", []))


if __name__ == "__main__":
    opened = Relay(os.environ["MLFLOW_ARTIFACTS_DESTINATION"])
    if sys.argv[1] == "save":
        save(opened, sys.stdout.buffer)
    else:
        {"load": load, "keep": keep}[sys.argv[1]](opened, sys.stdin.buffer)
