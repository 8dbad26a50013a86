"""The training image against its base with nothing but the lock, and a rebuild after an edit against one without."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from uuid import uuid4

from .stopwatch import require_success, take_turns
from .table import AtMost, Row, Section
from .workshop import Workshop

ROUNDS = 5
METHOD = """\
The generated Dockerfile, built by the engine of the machine. Sizes are the engine's own, in bytes; the peer is the same
base with the lock installed by the same `pip`, and nothing else. In each round a line of the project's code is changed
and the image is built, and then it is built again with nothing changed; the packages are in the engine's cache."""
SIZE = "size of the training image"
REBUILD = "building again after an edit"
PEERS = {SIZE: "base and lock", REBUILD: "building again without one"}


def measure(workshop: Workshop) -> Section:
    """Return the rows, which say what is missing on a machine without an engine."""
    wanted = os.environ.get("CONTAINER_ENGINE")
    engine = next(filter(None, map(shutil.which, [wanted] if wanted else ["docker", "podman"])), None)
    title = "The training image"
    if engine is None:
        missing = f"{wanted} was not found here" if wanted else "neither docker nor podman was found here"
        return Section(title, METHOD, [Row(what, None, peer, missing=missing) for what, peer in PEERS.items()])
    mark = uuid4().hex[:8]
    images = [f"benchmark-train:{mark}", f"benchmark-lock:{mark}"]
    try:
        return Section(title, METHOD, _rows(engine, *images, workshop))
    finally:
        subprocess.run([engine, "rmi", "--force", *images], check=False, capture_output=True)


def _rows(engine: str, train: str, lock: str, workshop: Workshop) -> list[Row]:
    folder = Path(shutil.copytree(workshop.project, workshop.folder / "image"))
    (folder / "Dockerfile.lock").write_text(lock_only((folder / "Dockerfile").read_text()))
    code = next(folder.glob("src/*/model.py"))

    def build(name: str, *options: str) -> float:
        command = [engine, "build", f"--tag={name}", *options, str(folder)]
        started = time.perf_counter()
        # With the settings of whoever measures: they say where the engine keeps its images.
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        require_success(command, done)
        return seconds

    def size(name: str) -> int:
        return int(subprocess.check_output([engine, "image", "inspect", "--format={{.Size}}", name], text=True))

    def edited() -> dict[str, float]:
        code.write_text(f"{code.read_text()}# {uuid4()}\n")
        return {"edited": build(train, "--build-arg=GIT_COMMIT=" + "0" * 40)}

    def unchanged() -> dict[str, float]:
        return {"unchanged": build(train, "--build-arg=GIT_COMMIT=" + "0" * 40)}

    build(lock, f"--file={folder / 'Dockerfile.lock'}")
    build(train)
    times = take_turns("image", [edited, unchanged], workshop.size(ROUNDS))
    return [
        Row(SIZE, size(train), PEERS[SIZE], size(lock), AtMost(1.05)),
        Row(REBUILD, times["edited"], PEERS[REBUILD], times["unchanged"]),
    ]


def lock_only(dockerfile: str) -> str:
    """Return the start of the Dockerfile, up to the code."""
    start, code, _ = dockerfile.partition("COPY . ./")
    if not code:
        raise RuntimeError("the Dockerfile does not copy the code with `COPY . ./`: say here where its lock ends")
    return start
