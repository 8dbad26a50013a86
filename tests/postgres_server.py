"""A real PostgreSQL server on this machine, made for one use and deleted."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracking_server import free_port

_NEEDED = ("initdb", "postgres", "pg_isready")
_LIMIT = 600  # seconds; it takes one or two when nothing else runs


def programs() -> Path | None:
    """Return the folder with PostgreSQL's server programs, None where it is not installed."""
    places = [Path(path) for path in os.environ["PATH"].split(os.pathsep)]
    places += Path("/usr/lib/postgresql").glob("*/bin")
    return next((place for place in places if all((place / name).exists() for name in _NEEDED)), None)


@contextmanager
def postgres_server(programs: Path) -> Iterator[str]:
    """Start a server and yield the address of its empty database."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    # PostgreSQL does not run as root.
    user: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
    if user:
        shutil.chown(folder, "nobody", "nogroup")
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    options: dict[str, Any] = {"cwd": folder, "env": env, **user}
    make = [programs / "initdb", "--pgdata=data", "--username=mlflow", "--auth=trust", "--no-sync"]
    subprocess.run(make, check=True, capture_output=True, **options)
    port = free_port()
    start = [programs / "postgres", "-D", "data", "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(start, stdout=log, stderr=log, **options)
    try:
        ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
        until = time.monotonic() + _LIMIT
        while subprocess.run(ready, capture_output=True, check=False, env=env).returncode != 0:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL does not answer: {(folder / 'log').read_text('utf-8')}")
            time.sleep(0.25)
        yield f"postgresql://mlflow@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder)
