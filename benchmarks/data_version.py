"""The data version against DVC, raw blake3 and a plain read, on one big file and on a folder of many small ones."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from .stopwatch import Side, Timing, require_success, say, seconds_of, take_turns
from .table import AtMost, Faster, Row, Section
from .workshop import MissingError, Workshop

ROUNDS = 5
CLIENT = Path(__file__).with_name("data_version_client.py")
BLOCK, FILE_BLOCKS = 1 << 24, 64
FILES, SMALL_BYTES = 20_000, 10_000
MANY_FILES = 200_000
SETTLED = 3  # seconds; the stat cache keeps nothing younger than two
METHOD = """\
Random bytes, in the page cache. DVC is measured as the command that its users run, in a repository without its
cache for `dvc add` and with nothing changed for `dvc status`. Ours is measured both as what a run waits for, a call
in a process that is there already, and as a process of its own with the start of Python, as DVC's is. Raw blake3
(threads and a memory map for the big file), the plain read and the walk that asks for the stat of each file are timed
without the start of Python, as our call is. A run makes such a call at its start and one at its end."""
IN_RUN, PROCESS = "ours, in a run", "ours, as a process"


class Data:
    """One set of data at *path*, and the ways to look at it."""

    def __init__(self, workshop: Workshop, path: Path) -> None:
        self.workshop = workshop
        self.path = path
        self.cache = path.parent / "cache.json"
        self.env = workshop.env | {"DVC_SITE_CACHE_DIR": str(path.parent / "site")}

    def ours(self, cached: bool = False) -> dict[str, float]:
        extra = [str(self.cache)] if cached else []
        started = time.perf_counter()
        inside = self._client("ours", *extra)
        return {IN_RUN: inside, PROCESS: time.perf_counter() - started}

    def blake3(self) -> dict[str, float]:
        return {"raw blake3": self._client("blake3")}

    def read(self) -> dict[str, float]:
        return {"plain read": self._client("read")}

    def walk(self) -> dict[str, float]:
        return {"a walk with stat": self._client("walk")}

    def dvc_add(self) -> dict[str, float]:
        self.forget_dvc()
        self._dvc("init", "--quiet", "--no-scm")
        return {"dvc add": self._dvc("add", "--quiet", self.path.name)}

    def dvc_status(self) -> dict[str, float]:
        return {"dvc status": self._dvc("status", "--quiet")}

    def forget_dvc(self) -> None:
        for folder in (".dvc", "site"):
            shutil.rmtree(self.path.parent / folder, ignore_errors=True)
        for leftover in (f"{self.path.name}.dvc", ".dvcignore", ".gitignore"):
            (self.path.parent / leftover).unlink(missing_ok=True)

    def settle(self) -> None:
        """Leave the data alone until a stat cache may trust it, then fill it."""
        time.sleep(SETTLED)
        self.ours(cached=True)

    def _client(self, way: str, *arguments: str) -> float:
        command = [self.workshop.child / "python", CLIENT, way, self.path, *arguments]
        done = subprocess.run(command, env=self.workshop.child_env, check=False, capture_output=True, text=True)
        require_success(command, done)
        return float(done.stdout)

    def _dvc(self, *arguments: str) -> float:
        return seconds_of([self.dvc, *arguments], self.path.parent, self.env)

    @property
    def dvc(self) -> Path:
        return self.workshop.folder / "environments" / "dvc" / "bin" / "dvc"


def measure(workshop: Workshop) -> Section:
    """Make the data, measure it, and delete it."""
    try:
        workshop.peer("dvc")
        missing = ""
    except MissingError as error:
        missing = str(error)
    rows: list[Row] = []
    blocks, files = workshop.size(FILE_BLOCKS), workshop.size(FILES, smoke=20)
    for what, make, count, times_faster in (
        (f"a file of {blocks * BLOCK >> 20:,} MiB", big_file, blocks, 25),
        (f"a folder of {files:,} files of {SMALL_BYTES // 1000} kB", small_files, files, 12),
    ):
        folder = workshop.folder / "data_version"
        folder.mkdir()
        say(f"making {what}")
        rows += _compare(Data(workshop, make(folder, count)), what, times_faster, missing)
        shutil.rmtree(folder)
    return Section("The data version", METHOD, [*rows, _many_unchanged(workshop)])


def _many_unchanged(workshop: Workshop) -> Row:
    """Compare the data version of many files, of which none changed, with the walk that sees this."""
    folder, count = workshop.folder / "data_version", workshop.size(MANY_FILES, smoke=20)
    folder.mkdir()
    say(f"making {count:,} files")
    data = Data(workshop, small_files(folder, count, size=10))
    data.settle()
    sides = [lambda: data.ours(cached=True), data.walk]
    times = take_turns(f"{count:,} files, unchanged", sides, workshop.size(ROUNDS))
    shutil.rmtree(folder)
    what = f"a folder of {count:,} files, unchanged; {IN_RUN}"
    return Row(what, times[IN_RUN], "a walk with stat", times["a walk with stat"], AtMost(1.5))


def _compare(data: Data, what: str, times_faster: float, missing: str) -> list[Row]:
    rounds = data.workshop.size(ROUNDS)
    sides: list[Side] = [data.ours, data.blake3, data.read]
    if not missing:
        sides.append(data.dvc_add)
    sides[0](), sides[1]()  # into the page cache
    first = take_turns(what, sides, rounds)
    data.settle()
    again: list[Side] = [lambda: data.ours(cached=True)]
    if not missing:
        again.append(data.dvc_status)
        data.dvc_status()
    unchanged = take_turns(f"{what}, unchanged", again, rounds)

    def against(times: dict[str, Timing], label: str, ours: str, peer: str, aim: AtMost | Faster | None) -> Row:
        theirs = times.get(peer)
        return Row(f"{label}; {ours}", times[ours], peer, theirs, aim, missing)

    return [
        against(first, what, IN_RUN, "dvc add", Faster(times_faster)),
        against(first, what, PROCESS, "dvc add", Faster(times_faster)),
        against(first, what, IN_RUN, "raw blake3", AtMost(1.3)),
        against(first, what, IN_RUN, "plain read", None),
        against(unchanged, f"{what}, unchanged", IN_RUN, "dvc status", Faster(8)),
        against(unchanged, f"{what}, unchanged", PROCESS, "dvc status", Faster(8)),
    ]


def big_file(folder: Path, blocks: int) -> Path:
    path = folder / "data.bin"
    with path.open("wb") as stream:
        for _ in range(blocks):
            stream.write(os.urandom(BLOCK))
    return path


def small_files(folder: Path, count: int, size: int = SMALL_BYTES) -> Path:
    path = folder / "data"
    path.mkdir()
    for number in range(count):
        (path / f"{number:05}.bin").write_bytes(os.urandom(size))
    return path
