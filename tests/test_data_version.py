"""The data version: any byte or name moves it, nothing else does, and what cannot be told is refused."""

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machinery import Machinery, Refusal

POSIX = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows needs a privilege for links and has no pipes in folders"
)


@pytest.fixture(scope="session")
def ask(run_in: Callable, project: Path) -> Machinery:
    return Machinery(run_in, project)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.csv").write_bytes(b"x,y\r\n1,2\r\n")
    (folder / "deep" / "b.csv").write_bytes(b"3,4\n")
    (folder / "empty").write_bytes(b"")
    return folder


def version(ask: Machinery, path: Path) -> str:
    return ask("data_version.data_version(path).version", path=path)


def refusal(ask: Machinery, path: Path, **options: str) -> str:
    with pytest.raises(Refusal) as refused:
        ask("data_version.data_version(path)", path=path, **options)
    assert refused.value.keys == ["data_version"]
    return str(refused.value)


def test_version_is_the_documented_digest(ask: Machinery, data: Path) -> None:
    """Written out here a second time, because recorded runs depend on it for ever."""
    rows = [
        [name, (data / name).stat().st_size, blake3((data / name).read_bytes()).hexdigest()]
        for name in ("a.csv", "deep/b.csv", "empty")
    ]
    text = json.dumps(rows, separators=(",", ":"), ensure_ascii=False)

    found = ask("[data_version.data_version(path), data_version.data_version(path).size]", path=data)

    assert found == [
        {
            "version": f"blake3:{blake3(text.encode()).hexdigest()}",
            "files": [dict(zip(("path", "size", "digest"), row, strict=True)) for row in rows],
        },
        14,
    ]


def test_single_file_is_called_dot_and_its_own_name_does_not_count(ask: Machinery, data: Path) -> None:
    [file] = ask("data_version.data_version(path).files", path=data / "a.csv")
    assert (file["path"], file["size"]) == (".", 10)
    (data / "a.csv").rename(data / "c.csv")
    assert [file] == ask("data_version.data_version(path).files", path=data / "c.csv")


def test_big_file_is_read_to_its_end(ask: Machinery, tmp_path: Path) -> None:
    for size in (1024 * 1024, 8 * 1024 * 1024 - 1, 8 * 1024 * 1024, 20_000_003):
        content = blake3(b"noise").digest(length=size)
        (tmp_path / "big.bin").write_bytes(content)
        [file] = ask("data_version.data_version(path).files", path=tmp_path / "big.bin")
        assert file == {"path": ".", "size": size, "digest": blake3(content).hexdigest()}


trees = st.dictionaries(
    st.lists(st.sampled_from(["a", "b", "B-", "ü", "z.csv"]), min_size=1, max_size=3).map("/".join),
    st.binary(max_size=6),
    min_size=1,
    max_size=6,
).filter(lambda tree: any(tree.values()) and not any(b.startswith(f"{a}/") for a in tree for b in tree))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(trees, min_size=8, max_size=8))
def test_versions_are_equal_exactly_when_names_and_bytes_are(
    ask: Machinery, tmp_path_factory: pytest.TempPathFactory, many: list[dict[str, bytes]]
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

    versions = ask(
        "[data_version.data_version(top / str(number)).version for number in range(count)]",
        top=top,
        values={"count": len(many)},
    )

    for one, version_of_one in zip(many, versions, strict=True):
        for other, version_of_other in zip(many, versions, strict=True):
            assert (one == other) == (version_of_one == version_of_other)
    shutil.rmtree(top)


def test_missing_empty_and_hollow_data_are_refused(ask: Machinery, tmp_path: Path) -> None:
    assert "data does not exist" in refusal(ask, tmp_path / "data")
    (tmp_path / "data" / "folder").mkdir(parents=True)
    assert "no file is in it" in refusal(ask, tmp_path / "data")
    (tmp_path / "data" / ".gitkeep").write_bytes(b"")
    assert "every file in it is empty" in refusal(ask, tmp_path / "data")
    assert "every file in it is empty" in refusal(ask, tmp_path / "data" / ".gitkeep")


@POSIX
def test_links_inside_the_tree_count_as_what_they_lead_to(ask: Machinery, data: Path) -> None:
    (data / "copy").mkdir()
    (data / "copy" / "b.csv").write_bytes(b"3,4\n")
    (data / "again.csv").write_bytes((data / "a.csv").read_bytes())
    copied = version(ask, data)
    shutil.rmtree(data / "copy")
    (data / "again.csv").unlink()
    (data / "copy").symlink_to("deep")
    (data / "again.csv").symlink_to(data / "a.csv")

    assert version(ask, data) == copied

    (data.parent / "link").symlink_to(data)
    (data.parent / "file").symlink_to(data / "a.csv")
    assert version(ask, data.parent / "link") == copied
    assert version(ask, data.parent / "file") == version(ask, data / "a.csv")


@POSIX
@pytest.mark.parametrize(
    ("target", "said"),
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
def test_links_that_lead_out_nowhere_or_round_are_refused(
    target: str, said: str, folder: str, ask: Machinery, data: Path
) -> None:
    (data.parent / "outside.csv").write_bytes(b"x")
    (data.parent / "data-outside").mkdir()
    link = data / folder / "odd"
    link.symlink_to(os.path.join(".." if folder == "deep" and target.startswith("../") else "", target))
    if target == ".." and folder == ".":
        said = "leads out of the data path"
    message = refusal(ask, data)
    assert said in message and "odd" in message


@POSIX
def test_links_that_go_round_through_each_other_are_refused(ask: Machinery, data: Path) -> None:
    (data / "other").mkdir()
    (data / "other" / "to-deep").symlink_to("../deep")
    (data / "deep" / "to-other").symlink_to("../other")
    assert "leads back to a folder it lies in" in refusal(ask, data)


@POSIX
def test_pipes_sockets_and_devices_are_refused_without_waiting_for_them(ask: Machinery, data: Path) -> None:
    os.mkfifo(data / "deep" / "pipe")
    assert "pipe is no plain file" in refusal(ask, data)
    assert "pipe is no plain file" in refusal(ask, data / "deep" / "pipe")
    (data / "deep" / "pipe").unlink()
    assert "null is no plain file" in refusal(ask, Path("/dev/null"))
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(data)  # a socket's path may not be long
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
        assert "socket is no plain file" in refusal(ask, data)


@POSIX
@pytest.mark.parametrize("locked", ["deep/b.csv", "deep"])
def test_unreadable_data_is_refused_by_name(locked: str, ask: Machinery, data: Path) -> None:
    (data / locked).chmod(0)
    drop = "" if os.geteuid() else "os.seteuid(65534)"  # root may read everything
    for folder in (data, *data.parents):
        if folder.owner() == data.owner() and folder.parent != folder and str(folder) != "/tmp":
            folder.chmod(folder.stat().st_mode | 0o055)
    try:
        message = refusal(ask, data, before=drop)
    finally:
        (data / locked).chmod(0o755)
    assert f"{locked} cannot be read (Permission denied)" in message and "permission" in message


# The audit event comes in the instant before the file is opened: the race is lost every time.
RACE = """
import sys, threading, time
def at_the_worst_moment(event, arguments):
    if event == "open" and str(arguments[0]).endswith({name!r}):
        {action}
sys.addaudithook(at_the_worst_moment)
"""
GROW = """
import threading
def grow():
    with open({path!r}, "ab", buffering=0) as stream:
        while True:
            stream.write(b"x" * 4096)
threading.Thread(target=grow, daemon=True).start()
"""


def test_file_that_vanishes_after_it_was_listed_is_refused(ask: Machinery, data: Path) -> None:
    race = RACE.format(name="b.csv", action="os.path.exists(arguments[0]) and os.unlink(arguments[0])")
    assert "b.csv changed while it was read" in refusal(ask, data, before=race)


def test_file_that_changes_while_it_is_read_is_refused(ask: Machinery, data: Path) -> None:
    growing = data / "growing.bin"
    growing.write_bytes(bytes(64 * 1024 * 1024))
    assert "growing.bin changed while it was read" in refusal(ask, data, before=GROW.format(path=str(growing)))


CACHED = "data_version.data_version(path, cache).files"


@pytest.fixture
def settled(data: Path) -> Path:
    """Data that nobody touched for longer than a file system's clock may be wrong."""
    settle(data)
    return data


def settle(folder: Path) -> None:
    changed = max(path.stat().st_ctime for path in folder.rglob("*"))
    while time.time() < changed + 2.1:
        time.sleep(0.1)


LIE = "f" * 64
# The cache with a lie in the place of every digest, sealed as if it were true: only a trusted entry repeats it.
LYING = (
    "[setattr(cache_, '_new', {name: entry[:-64] + lie for name, entry in stat_cache._load(cache).items()})"
    " or cache_.save() for cache_ in [stat_cache.StatCache(cache)]] and len(stat_cache._load(cache))"
)


def lies(ask: Machinery, path: Path, cache: Path) -> int:
    ask(CACHED, path=path, cache=cache)
    return ask(LYING, cache=cache, values={"lie": LIE})


def believed(ask: Machinery, path: Path, cache: Path) -> list[str]:
    return [file["path"] for file in ask(CACHED, path=path, cache=cache) if file["digest"] == LIE]


def test_cache_is_believed_for_unchanged_files_only(ask: Machinery, settled: Path, tmp_path: Path) -> None:
    cache = tmp_path / "new folder" / "cache"
    assert lies(ask, settled, cache) == 3
    assert believed(ask, settled, cache) == ["a.csv", "deep/b.csv", "empty"]
    assert [path.name for path in cache.parent.iterdir()] == ["cache"]

    # same size, same time: only the time of the inode's own change tells
    file = settled / "a.csv"
    before = file.stat()
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    if sys.platform != "win32":
        assert believed(ask, settled, cache) == ["deep/b.csv", "empty"]

    (settled / "deep/b.csv").write_bytes(b"4,3\n")
    (settled / "empty").unlink()
    assert ask(CACHED, path=settled, cache=cache) == ask("data_version.data_version(path).files", path=settled)


@POSIX
def test_file_swapped_for_another_of_the_same_size_and_time_is_read(
    ask: Machinery, settled: Path, tmp_path: Path
) -> None:
    (settled / "twin.csv").write_bytes(b"9,9\n")
    seen = (settled / "deep/b.csv").stat()
    os.utime(settled / "twin.csv", ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert lies(ask, settled, tmp_path / "cache") == 3
    (settled / "twin.csv").replace(settled / "deep/b.csv")
    assert "deep/b.csv" not in believed(ask, settled, tmp_path / "cache")


def test_file_written_a_moment_ago_is_never_kept(ask: Machinery, settled: Path, tmp_path: Path) -> None:
    touch = "(path / 'deep' / 'b.csv').write_bytes(b'5,6\\n')"
    kept = f"[{touch}, data_version.data_version(path, cache), sorted(stat_cache._load(cache))][2]"
    assert ask(kept, path=settled, cache=tmp_path / "cache") == ["a.csv", "empty"]

    os.utime(settled / "a.csv", (2**33, 2**33))  # from the future
    settle(settled)
    assert ask(kept, path=settled, cache=tmp_path / "cache") == ["empty"]


def test_damaged_foreign_and_unwritable_caches_cost_nothing_but_time(
    ask: Machinery, settled: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    true = ask(CACHED, path=settled, cache=cache)
    good = cache.read_bytes()
    flipped = good.replace(true[0]["digest"].encode(), LIE.encode())
    assert flipped != good
    later = good[32:].replace(b'"format":1', b'"format":2')
    for content in (b"", b"x", good[:-1], flipped, b'{"format": 1}', os.urandom(5000), blake3(later).digest() + later):
        cache.write_bytes(content)
        assert ask(CACHED, path=settled, cache=cache) == true
        assert cache.read_bytes() == good

    (tmp_path / "folder" / "inside").mkdir(parents=True)
    assert ask(CACHED, path=settled, cache=tmp_path / "folder") == true
    assert ask(CACHED, path=settled, cache=cache / "below a file") == true
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data", "folder"]


def test_parallel_processes_share_one_cache(run_in: Callable, project: Path, settled: Path, tmp_path: Path) -> None:
    loop = (
        "import sys; from concurrent.futures import ProcessPoolExecutor as Pool; from importlib import import_module;"
        "from pathlib import Path; from functools import partial;"
        "package = next(Path('src').glob('*/reproducibility')).parent.name;"
        "f = import_module(f'reproducibility.provenance.data').data_version;"
        "pool = Pool(4);"
        "print(len(set(v.version for v in pool.map(f, [Path(sys.argv[1])] * 200, [Path(sys.argv[2])] * 200))))"
    )
    (tmp_path / "cache").write_bytes(b"damaged")
    done = run_in(project, "python", "-c", loop, settled, tmp_path / "cache")
    assert done.stdout.split() == ["1"], done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data"]
