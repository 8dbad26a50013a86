"""Pointers: what Git LFS, git-annex, DVC and hubs leave in the place of data is refused, with the way to the data."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from needs import skip_without
from reproducibility.errors import Refused
from reproducibility.provenance.data import data_version

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows needs a privilege for links")

HASH = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{HASH}\nsize 12345\n"
KEY = f"SHA256E-s12345--{HASH}.csv"
ANNEX = f"/annex/objects/{KEY}\n"
DVC = "outs:\n- md5: 0123456789abcdef0123456789abcdef\n  size: 5\n  hash: md5\n  path: {}\n"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of real data in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "a.csv").write_text("x,y\n1,2\n", encoding="utf-8")
    (tmp_path / "data" / "deep" / "b.csv").write_text("3,4\n", encoding="utf-8")
    return Path("data")


def refusal(path: Path, cache: Path | None = None) -> str:
    with pytest.raises(Refused) as refused:
        data_version(path, cache)
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "tool", "command"),
    [
        (LFS, "Git LFS", "git lfs pull"),
        (LFS.replace("\n", "\r\n"), "Git LFS", "git lfs pull"),
        (LFS.replace("git-lfs.github.com/spec/v1", "hawser.github.com/spec/v1"), "Git LFS", "git lfs pull"),
        (LFS.replace("oid", f"ext-0-gzip sha256:{HASH}\noid"), "Git LFS", "git lfs pull"),
        (ANNEX, "git-annex", "git annex get data/a.csv"),
        (f"../../.git/annex/objects/Xx/1p/{KEY}/{KEY}", "git-annex", "git annex get data/a.csv"),
    ],
)
def test_a_pointer_in_the_place_of_a_file_is_refused(data: Path, text: str, tool: str, command: str) -> None:
    (data / "a.csv").write_text(text, encoding="utf-8", newline="")
    expected = f"data_version: data/a.csv is a pointer of {tool}, not the data. To fix it: {command}"
    assert refusal(data / "a.csv") == expected


def test_every_pointer_of_a_folder_is_named_with_the_command_of_its_tool(data: Path) -> None:
    (data / "a.csv").write_text(LFS, encoding="utf-8")
    (data / "deep" / "c d.csv").write_text(LFS, encoding="utf-8")
    (data / "z.csv").write_text(ANNEX, encoding="utf-8")
    message = refusal(data)
    assert "data/a.csv, data/deep/c d.csv are pointers of Git LFS, not the data. To fix it: git lfs pull" in message
    assert "data/z.csv is a pointer of git-annex, not the data. To fix it: git annex get data" in message
    assert "b.csv" not in message


@pytest.mark.parametrize(
    "text",
    [
        "version https://git-lfs.github.com/spec/v1\n",
        LFS + "\nSo looks a pointer of Git LFS.\n",
        f"# A pointer\n{LFS}",
        LFS.replace("size 12345", "size big"),
        LFS + " " * 1024,
        "version,size\n1,2\n",
        "/annex/objects/",
        "../other.csv\n",
        "1\n",
    ],
)
def test_data_that_is_small_or_speaks_of_pointers_is_data(data: Path, text: str) -> None:
    (data / "a.csv").write_text(text, encoding="utf-8")
    assert len(data_version(data).files) == 2


def test_the_cache_hides_no_pointer(data: Path, tmp_path: Path) -> None:
    (data / "a.csv").write_text(LFS, encoding="utf-8")
    changed = max(path.stat().st_ctime for path in data.rglob("*"))
    while (left := changed + 2.1 - time.time()) > 0:
        time.sleep(left)
    cache = tmp_path / "cache"
    # As a reproduction looks for the data of a run: by content, whatever the content is.
    assert len(data_version(data, cache, pointers=True).files) == 2
    assert "data/a.csv is a pointer of Git LFS" in refusal(data, cache)


# --- DVC


def test_a_file_of_dvc_is_not_the_data(data: Path) -> None:
    (data / "a.csv.dvc").write_text(DVC.format("a.csv"), encoding="utf-8")
    message = refusal(data / "a.csv.dvc")
    assert "data/a.csv.dvc is a pointer of DVC, not the data" in message
    assert message.endswith("To fix it: dvc pull data/a.csv.dvc, and let data.path name data/a.csv")
    assert len(data_version(data).files) == 3, "beside its data it is a file like any other"


def test_data_that_only_dvc_has_is_refused_with_its_command(data: Path) -> None:
    (data / "a.csv").rename(data / "a.csv.dvc")
    (data / "a.csv.dvc").write_text(DVC.format("a.csv"), encoding="utf-8")
    for path in (data / "a.csv", data / "a.csv" / "below"):
        message = refusal(path)
        assert f"{path.as_posix()} does not exist, and DVC has a pointer to it" in message
        assert message.endswith("To fix it: dvc pull data/a.csv.dvc")
    expected = "data/a.csv.dvc is a pointer of DVC, not the data. To fix it: dvc pull data/a.csv.dvc"
    assert refusal(data) == f"data_version: {expected}"
    (data / "deep" / "raw.dvc").write_text(DVC.format("raw"), encoding="utf-8")
    assert refusal(data).endswith("are pointers of DVC, not the data. To fix it: dvc pull --recursive data")
    (data / "deep" / "raw").mkdir()
    assert refusal(data) == f"data_version: {expected}"


def test_a_file_that_is_only_called_like_one_of_dvc_is_data(data: Path) -> None:
    (data / "a.csv").rename(data / "voltage.dvc")
    (data / "voltage.dvc").write_text("volt\n3\n", encoding="utf-8")
    assert len(data_version(data).files) == 2
    assert len(data_version(data / "voltage.dvc").files) == 1


@POSIX
def test_links_into_the_cache_of_dvc_are_gone_after_what_the_refusal_says(
    tmp_path: Path, clean_env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By real DVC: its links are refused, its own way makes files of them; without its cache they lead to nothing."""
    if shutil.which("dvc") is None:
        skip_without("dvc")
    monkeypatch.chdir(tmp_path)
    data = Path("data")
    data.mkdir()
    (data / "a.csv").write_text("x,y\n1,2\n", encoding="utf-8")
    for command in ("git init -q", "dvc init -q", "dvc config cache.type symlink", "dvc add -q data"):
        subprocess.run(command.split(), env=dict(clean_env), check=True)
    assert (data / "a.csv").is_symlink()
    assert len(data_version(data / "a.csv").files) == 1, "a data path may be a link itself"
    message = refusal(data)
    assert "the link data/a.csv leads out of the data path" in message
    ways = message.partition(". To fix it: ")[2].split(", then ")
    assert ways == ["dvc config cache.type reflink,hardlink,copy", "dvc checkout --relink"]
    shutil.copytree(data, "links", symlinks=True)
    for command in ways:
        subprocess.run(command.split(), env=dict(clean_env), check=True)
    assert len(data_version(data).files) == 1

    shutil.rmtree(".dvc/cache")
    assert refusal(Path("links")).endswith("leads to nothing. To fix it: dvc pull links/a.csv")


# --- links of git-annex and of hubs


@POSIX
@pytest.mark.parametrize("folder", [".git/annex/objects", ".git/modules/sub/annex/objects"])
def test_links_of_git_annex_are_refused_with_its_commands(data: Path, folder: str) -> None:
    store = Path(folder, "Xx", "1p", KEY)
    (data / "a.csv").unlink()
    (data / "a.csv").symlink_to(Path("..", store, KEY))
    for path in (data, data / "a.csv"):
        expected = "data_version: the link data/a.csv leads to nothing. To fix it: git annex get data/a.csv"
        assert refusal(path) == expected
    store.mkdir(parents=True)
    (store / KEY).write_text("x,y\n1,2\n", encoding="utf-8")
    assert len(data_version(data / "a.csv").files) == 1
    message = refusal(data)
    assert "the link data/a.csv leads out of the data path" in message
    assert "To fix it: git annex unlock data/a.csv" in message


@POSIX
def test_links_of_a_hub_s_snapshot_are_refused_with_a_way_that_downloads_files(data: Path) -> None:
    hub = Path("hub", "datasets--org--name")
    (hub / "blobs").mkdir(parents=True)
    (hub / "blobs" / HASH).write_text("x\n", encoding="utf-8")
    snapshot = hub / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (snapshot / "train.csv").symlink_to(os.path.join("..", "..", "blobs", HASH))
    message = refusal(snapshot)
    assert "leads out of the data path" in message
    assert "--local-dir" in message and "cp -rL" in message
