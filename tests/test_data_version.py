"""The data version: every byte and name changes it, nothing else does, and data that cannot be read is refused."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reproducibility.errors import Refused
from reproducibility.provenance import data as data_module
from reproducibility.provenance.data import DataFile, DataVersion, data_version
from reproducibility.provenance.data_files import data_files
from reproducibility.provenance.stat_cache import StatCache

POSIX = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows needs a privilege for links and has no pipes in folders"
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return written(tmp_path / "data")


def written(folder: Path) -> Path:
    """Make the folder with data of every kind: in a folder below, with Windows line ends, without any bytes."""
    (folder / "deep").mkdir(parents=True)
    (folder / "a.csv").write_bytes(b"x,y\r\n1,2\r\n")
    (folder / "deep" / "b.csv").write_bytes(b"3,4\n")
    (folder / "empty").write_bytes(b"")
    return folder


def refusal(path: Path) -> str:
    with pytest.raises(Refused) as refused:
        data_version(path)
    assert [violation.key for violation in refused.value.violations] == ["data_version"]
    return str(refused.value)


def test_version_is_the_documented_digest(data: Path) -> None:
    """Written out here a second time, because recorded runs depend on it for ever."""
    files = [
        DataFile(name, (data / name).stat().st_size, blake3((data / name).read_bytes()).hexdigest())
        for name in ("a.csv", "deep/b.csv", "empty")
    ]
    text = json.dumps(files, separators=(",", ":"), ensure_ascii=False)
    assert text.startswith('[["a.csv",10,"')

    found = data_version(data)

    assert found == DataVersion(f"blake3:{blake3(text.encode()).hexdigest()}", tuple(files))
    assert found.size == 14


def test_single_file_is_called_dot_and_its_own_name_does_not_count(data: Path) -> None:
    found = data_version(data / "a.csv")
    assert [(file.path, file.size) for file in found.files] == [(".", 10)]
    (data / "a.csv").rename(data / "c.csv")
    assert data_version(data / "c.csv") == found


def test_big_file_is_read_to_its_end(tmp_path: Path) -> None:
    for size in (1024 * 1024, 8 * 1024 * 1024 - 1, 8 * 1024 * 1024, 20_000_003):
        content = blake3(b"noise").digest(length=size)
        (tmp_path / "big.bin").write_bytes(content)
        assert data_version(tmp_path / "big.bin").files == (DataFile(".", size, blake3(content).hexdigest()),)


trees = st.dictionaries(
    st.lists(st.sampled_from(["a", "b", "B-", "ü", "z.csv"]), min_size=1, max_size=3).map("/".join),
    st.binary(max_size=6),
    min_size=1,
    max_size=6,
).filter(lambda tree: any(tree.values()) and not any(b.startswith(f"{a}/") for a in tree for b in tree))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(trees, min_size=8, max_size=8))
def test_versions_are_equal_exactly_when_names_and_bytes_are(
    tmp_path_factory: pytest.TempPathFactory, many: list[dict[str, bytes]]
) -> None:
    """Each tree also comes a second time, made in the opposite order with other times and modes, and as near misses."""
    first = many[0]
    name, content = next(iter(first.items()))
    rest = {other: first[other] for other in first if other != name}
    many += [dict(reversed(tree.items())) for tree in many]
    many += [rest | {name: content + b"\0"}, rest | {f"{name}~": content}, rest | {name: content, "extra": b""}]
    many += [rest | {name: content[::-1] + b"\r\n"}, rest | {name: content[::-1] + b"\n"}]
    top = tmp_path_factory.mktemp("trees")
    for number, tree in enumerate(many):
        for path, each in tree.items():
            file = top / str(number) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(each)
            os.utime(file, (number * 1000, number * 1000))
            file.chmod(0o600 if number % 2 else 0o644)

    versions = [data_version(top / str(number)).version for number in range(len(many))]

    for one, version_of_one in zip(many, versions, strict=True):
        for other, version_of_other in zip(many, versions, strict=True):
            assert (one == other) == (version_of_one == version_of_other)
    shutil.rmtree(top)


def test_missing_empty_and_hollow_data_are_refused(tmp_path: Path) -> None:
    assert "data does not exist" in refusal(tmp_path / "data")
    (tmp_path / "data" / "folder").mkdir(parents=True)
    assert "no file is in it" in refusal(tmp_path / "data")
    (tmp_path / "data" / ".gitkeep").write_bytes(b"")
    assert "every file in it is empty" in refusal(tmp_path / "data")
    assert "every file in it is empty" in refusal(tmp_path / "data" / ".gitkeep")


@POSIX
def test_links_inside_the_tree_count_as_what_they_lead_to(data: Path) -> None:
    (data / "copy").mkdir()
    (data / "copy" / "b.csv").write_bytes(b"3,4\n")
    (data / "again.csv").write_bytes((data / "a.csv").read_bytes())
    copied = data_version(data).version
    shutil.rmtree(data / "copy")
    (data / "again.csv").unlink()
    (data / "copy").symlink_to("deep")
    (data / "again.csv").symlink_to(data / "a.csv")

    assert data_version(data).version == copied

    (data.parent / "link").symlink_to(data)
    (data.parent / "file").symlink_to(data / "a.csv")
    assert data_version(data.parent / "link").version == copied
    assert data_version(data.parent / "file").version == data_version(data / "a.csv").version


@POSIX
@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("../outside.csv", "leads out of the data path"),
        ("../data-outside", "leads out of the data path"),
        ("/", "leads out of the data path"),
        ("no-such-file", "leads to nothing"),
        ("odd", "cannot be followed"),
        ("..", "leads back to a folder it lies in"),
        (".", "leads back to a folder it lies in"),
    ],
)
@pytest.mark.parametrize("folder", [".", "deep"])
def test_links_that_lead_out_nowhere_or_round_are_refused(target: str, problem: str, folder: str, data: Path) -> None:
    (data.parent / "outside.csv").write_bytes(b"x")
    (data.parent / "data-outside").mkdir()
    link = data / folder / "odd"
    link.symlink_to(os.path.join(".." if folder == "deep" and target.startswith("../") else "", target))
    if target == ".." and folder == ".":
        problem = "leads out of the data path"
    message = refusal(data)
    assert problem in message and "odd" in message


@POSIX
def test_links_that_go_round_through_each_other_are_refused(data: Path) -> None:
    (data / "other").mkdir()
    (data / "other" / "to-deep").symlink_to("../deep")
    (data / "deep" / "to-other").symlink_to("../other")
    assert "leads back to a folder it lies in" in refusal(data)


@POSIX
def test_pipes_sockets_and_devices_are_refused_without_waiting_for_them(data: Path) -> None:
    os.mkfifo(data / "deep" / "pipe")
    assert "pipe is no plain file" in refusal(data)
    assert "pipe is no plain file" in refusal(data / "deep" / "pipe")
    (data / "deep" / "pipe").unlink()
    assert "null is no plain file" in refusal(Path("/dev/null"))
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(data)  # a socket's path may not be long
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
        assert "socket is no plain file" in refusal(data)


@POSIX
@pytest.mark.parametrize("locked", ["deep/b.csv", "deep"])
def test_unreadable_data_is_refused_by_name(locked: str, data: Path) -> None:
    (data / locked).chmod(0)
    for folder in (data, *data.parents):
        if folder.owner() == data.owner() and folder.parent != folder and str(folder) != "/tmp":
            folder.chmod(folder.stat().st_mode | 0o055)
    try:
        with not_root():
            message = refusal(data)
    finally:
        (data / locked).chmod(0o755)
    assert f"{locked} cannot be read (Permission denied)" in message and "permission" in message


@contextmanager
def not_root() -> Iterator[None]:
    """Root may read everything: be somebody else until the block ends."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_file_that_vanishes_after_it_was_listed_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def vanishing(path: str, *arguments: int) -> int:
        if path.endswith("b.csv"):
            os.unlink(path)
        return opened(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", vanishing)
        assert "b.csv changed while it was read" in refusal(data)


def test_file_that_changes_while_it_is_read_is_refused(data: Path) -> None:
    path = data / "growing.bin"
    path.write_bytes(bytes(64 * 1024 * 1024))
    started, enough = Event(), Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as stream:
            while not enough.is_set():
                stream.write(b"x" * 4096)
                started.set()

    writer = Thread(target=grow)
    writer.start()
    try:
        assert started.wait(600), "the writer has written nothing"
        message = refusal(data)
    finally:
        enough.set()
        writer.join()
    assert "growing.bin changed while it was read" in message


@pytest.fixture(scope="module")
def settled_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders of data that nobody touched for longer than a file system's clock may be wrong: one wait for all tests.

    Each also has a file from the future, which no cache may keep.
    """
    folders = [written(tmp_path_factory.mktemp("settled") / "data") for _ in range(6)]
    for folder in folders:
        (folder / "future.csv").write_bytes(b"5,6\n")
        os.utime(folder / "future.csv", (2**33, 2**33))
    changed = max(path.stat().st_ctime for folder in folders for path in folder.rglob("*"))
    while (left := changed + 2.1 - time.time()) > 0:
        time.sleep(left)
    return iter(folders)


@pytest.fixture
def settled(settled_folders: Iterator[Path]) -> Path:
    """A settled folder of the test's own."""
    return next(settled_folders)


LIE = "f" * 64


def lie(path: Path, cache: Path) -> int:
    """Put a lie in the place of every digest in the cache, sealed as if it were true; return how many there are.

    Only a digest that comes from the cache is then a lie.
    """
    data_version(path, cache)
    lying = StatCache(cache)
    lying._new = {name: entry[: -len(LIE)] + LIE for name, entry in lying.entries.items()}
    lying.save([], LIE)
    return len(kept(cache))


def kept(cache: Path) -> list[str]:
    """The names of the files whose digests are in the cache."""
    return sorted(StatCache(cache).entries)


def believed(path: Path, cache: Path) -> list[str]:
    """The names of the files whose digests are taken from the cache."""
    return [file.path for file in data_version(path, cache).files if file.digest == LIE]


def test_cache_is_believed_for_unchanged_files_only(settled: Path, tmp_path: Path) -> None:
    cache = tmp_path / "new folder" / "cache"
    assert lie(settled, cache) == 3
    assert believed(settled, cache) == ["a.csv", "deep/b.csv", "empty"]
    assert [path.name for path in cache.parent.iterdir()] == ["cache"]

    # same size, same time: only the time of the inode's own change tells
    file = settled / "a.csv"
    before = file.stat()
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    if sys.platform != "win32":
        assert believed(settled, cache) == ["deep/b.csv", "empty"]

    (settled / "deep/b.csv").write_bytes(b"4,3\n")
    (settled / "empty").unlink()
    assert data_version(settled, cache).files == data_version(settled).files


@POSIX
def test_file_swapped_for_another_of_the_same_size_and_time_is_read(settled: Path, tmp_path: Path) -> None:
    (settled / "other.csv").write_bytes(b"9,9\n")
    seen = (settled / "deep/b.csv").stat()
    os.utime(settled / "other.csv", ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert lie(settled, tmp_path / "cache") == 3
    (settled / "other.csv").replace(settled / "deep/b.csv")
    assert "deep/b.csv" not in believed(settled, tmp_path / "cache")


def test_file_written_a_moment_ago_or_in_the_future_is_never_kept(settled: Path, tmp_path: Path) -> None:
    (settled / "deep" / "b.csv").write_bytes(b"5,6\n")
    data_version(settled, tmp_path / "cache")
    assert kept(tmp_path / "cache") == ["a.csv", "empty"]


def test_the_version_of_the_whole_is_believed_while_no_file_changes(settled: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (settled / "future.csv").unlink()
    true = data_version(settled, cache)
    again = data_version(settled, cache)
    assert (again.version, again.files, again.size) == (true.version, true.files, true.size)
    lying = StatCache(cache)
    lying._new = lying.entries
    names = [name for name, _ in data_files(settled)]
    lying.save(names, LIE)
    assert data_version(settled, cache).version == f"blake3:{LIE}"
    lie_in_cache, a = cache.read_bytes(), settled / "a.csv"
    seen = a.stat()
    for change in (
        lambda: a.write_bytes(a.read_bytes()[::-1]),
        lambda: os.utime(a, ns=(seen.st_atime_ns, seen.st_mtime_ns)),  # only the time of the change of its stat moves
        lambda: (settled / "new.csv").write_bytes(b"7"),
        lambda: (settled / "new.csv").unlink() or a.rename(settled / "b.csv"),
        lambda: (settled / "b.csv").unlink(),
    ):
        change()
        cache.write_bytes(lie_in_cache)
        assert data_version(settled, cache) == data_version(settled)


def test_damaged_foreign_and_unwritable_caches_cost_nothing_but_time(settled: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    true = data_version(settled, cache)
    good = cache.read_bytes()
    flipped = good.replace(true.files[0].digest.encode(), LIE.encode())
    assert flipped != good
    body = good[32:]
    earlier = blake3(body).digest() + body  # sealed as the format 3 was
    for content in (b"", b"x", good[:-1], flipped, b'{"format": 1}', os.urandom(5000), earlier):
        cache.write_bytes(content)
        assert data_version(settled, cache) == true
        assert data_version(settled, cache).files == true.files
        assert cache.read_bytes() == good

    (tmp_path / "folder" / "inside").mkdir(parents=True)
    assert data_version(settled, tmp_path / "folder") == true
    assert data_version(settled, cache / "below a file") == true
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "folder"]


def test_parallel_processes_share_one_cache(settled: Path, tmp_path: Path, clean_env: dict[str, str]) -> None:
    (tmp_path / "cache").write_bytes(b"damaged")
    script = Path(__file__).parent / "scripts" / "share_a_data_cache.py"
    done = subprocess.run(
        [sys.executable, script, settled, tmp_path / "cache"],
        env=clean_env | {"PYTHONPATH": str(Path(data_module.__file__).parents[2])},
        check=False,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.stdout.split() == [data_version(settled).version], done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]
