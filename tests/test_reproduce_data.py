"""`repro reproduce` finds the data of a run by its content, wherever it is now, and names what differs."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from needs import skip_without
from reproductions import TinyWorkbench, remote_of
from workbench import RecordedRun


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> TinyWorkbench:
    return TinyWorkbench.new(run_in, project, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def clean(workbench: TinyWorkbench) -> RecordedRun:
    return workbench.by_id(workbench.train("clean"))


def test_one_changed_byte_of_data_is_named(workbench: TinyWorkbench, clean: RecordedRun) -> None:
    workbench.write("data/raw/a.csv", "1,3\n")
    workbench.write("data/raw/new.csv", "5\n")
    try:
        message = workbench.refused(clean.id)
    finally:
        workbench.write("data/raw/a.csv", "1,2\n")
        (workbench.path / "data/raw/new.csv").unlink()
    assert f"data_version: the data of the run (data/raw, {clean.tags['data_version'][:19]}...)" in message
    assert "changed: a.csv; added since: new.csv" in message
    assert "--data PATH" in message


def test_data_that_was_moved_is_taken_from_the_place_that_the_user_names(
    workbench: TinyWorkbench, clean: RecordedRun, tmp_path: Path
) -> None:
    moved = Path(shutil.move(workbench.path / "data" / "raw", tmp_path / "moved"))
    try:
        assert "nothing that can be read is at" in workbench.refused(clean.id)
        workbench.identical(clean.id, "--data", str(moved))
    finally:
        shutil.move(moved, workbench.path / "data" / "raw")


def test_data_is_put_together_from_the_files_that_are_left_and_git_history(
    workbench: TinyWorkbench, clean: RecordedRun
) -> None:
    here = workbench.git("rev-parse", "HEAD")
    workbench.git("add", "--force", "data/raw/a.csv")
    workbench.git("commit", "--quiet", "--message=The data, for once")
    workbench.write("data/raw/a.csv", "1,3\n")
    workbench.git("commit", "--quiet", "--all", "--message=Other data")
    try:
        workbench.identical(clean.id)
        assert (workbench.path / "data/raw/a.csv").read_text("utf-8") == "1,3\n"
    finally:
        workbench.git("reset", "--quiet", "--soft", here)
        workbench.git("reset", "--quiet")
        workbench.write("data/raw/a.csv", "1,2\n")


def test_a_committed_file_comes_from_the_commit(workbench: TinyWorkbench) -> None:
    run_id = workbench.train("committed data", "data.path=data/penguins.csv")
    (workbench.path / "data/penguins.csv").unlink()
    try:
        workbench.identical(run_id)
    finally:
        workbench.git("checkout", "--quiet", ".")


@pytest.mark.parametrize("place", ["above", "absolute"])
def test_data_outside_the_project(workbench: TinyWorkbench, place: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text("7,8\n", encoding="utf-8")
    path = os.path.relpath(outside, workbench.path) if place == "above" else str(outside)
    run_id = workbench.train(f"data {place}", f"data.path={path}")
    if place == "above":
        workbench.identical(run_id)
    moved = outside.rename(tmp_path / "moved.csv")
    assert "nothing that can be read is at" in workbench.refused(run_id)
    answer = workbench.reproduce(run_id, "--data", str(moved))
    assert (answer.status, answer.report["forced"]) == (0, [])
    reproduction = workbench.by_id(answer.report["reproduction"])
    assert reproduction.params["data.path"] == (path if place == "above" else str(moved))
    assert workbench.run("repro", "validate", reproduction.id).returncode == 0


def test_a_cache_that_a_training_keeps_beside_its_data(workbench: TinyWorkbench, tmp_path: Path) -> None:
    """It is named, and so is where it belongs. A run whose policy leaves it out is the same with any cache."""
    caching = workbench.elsewhere(Path(shutil.copytree(workbench.path, tmp_path / "project", symlinks=True)))
    train = ("python", "scripts/tiny.py", "--config", "configs/tiny.yaml", "--set", "quirk=cache")
    done = caching.run(*train, env={"RUN_NAME": "a cache"})
    assert done.returncode == 1, done.stdout + done.stderr
    reason = "data_version: the data changed while the run was going on (added since: labels.cache)"
    assert reason in caching.runs()["a cache"].tags["failure"]
    told = " ".join(done.stderr.split())
    assert f"{reason}. To fix it: run again on data that is at rest. What the training itself writes belongs" in told
    assert "outside data/raw, or under `data_not_versioned` in configs/base.yaml" in told

    caching.edit("configs/base.yaml", "data_not_versioned: []", 'data_not_versioned: ["*.cache", interim]')
    caching.write("data/raw/interim/c.csv", "5,6\n")
    caching.commit()
    run_id = caching.train("left out", "quirk=cache")
    recorded = caching.by_id(run_id)
    manifest = json.loads((recorded.evidence / "manifest.json").read_text("utf-8"))
    assert [file["path"] for file in manifest["data_files"]] == ["a.csv", "more/b.csv"]
    assert manifest["policy"]["data_not_versioned"] == ["*.cache", "interim"]
    again = caching.train("left out again", "quirk=cache")
    assert caching.by_id(again).tags["data_version"] == recorded.tags["data_version"]
    assert caching.run("repro", "diff", run_id, again).returncode == 0
    assert caching.run("repro", "validate", run_id).returncode == 0

    # A run keeps to the patterns that it was recorded with.
    caching.edit("configs/base.yaml", 'data_not_versioned: ["*.cache", interim]', "data_not_versioned: []")
    caching.commit()
    caching.identical(run_id)
    items = json.loads(caching.run("repro", "checklist", "--run", run_id, "--json").stdout)["items"]
    assert [item["state"] for item in items if item["key"] == "data"] == ["passes"], items


def test_a_pointer_in_the_place_of_the_data_is_named_with_its_command(
    workbench: TinyWorkbench, clean: RecordedRun
) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 4\n"
    workbench.write("data/raw/more/b.csv", pointer)
    try:
        message = workbench.refused(clean.id)
    finally:
        workbench.write("data/raw/more/b.csv", "3,4\n")
    assert "changed: more/b.csv" in message
    told = "more/b.csv is a pointer of Git LFS, not the data. To fix it: git lfs pull; or bring that version back"
    assert told in message


def test_data_of_dvc_is_pulled_by_the_pointer_of_the_commit(workbench: TinyWorkbench, tmp_path: Path) -> None:
    pointing = workbench.clone(remote_of(workbench, tmp_path), tmp_path / "pointing")
    pointing.write(".dvc/config", "")
    pointing.write(".dvc/.gitignore", "/config.local\n/tmp\n/cache\n")  # as `dvc init` does it
    content = b"first"
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    pointing.write("data/kept.bin.dvc", f"outs:\n- md5: {digest}\n  size: 5\n  hash: md5\n  path: kept.bin\n")
    pointing.write("data/.gitignore", "/kept.bin\n")
    pointing.write("data/kept.bin", content.decode())
    pointing.commit()
    run_id = pointing.train("pointing", "data.path=data/kept.bin")
    pointing.write("data/kept.bin", "later")
    if shutil.which("dvc") is None:
        assert "install dvc, for which the commit has a pointer" in pointing.refused(run_id)
        skip_without("dvc")
    cached = pointing.path / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    pointing.identical(run_id)
    assert (pointing.path / "data/kept.bin").read_text("utf-8") == "later"


def content_of(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        ("linked", "", "linked/raw"),
        ("links/deep", "", "links/deep/raw"),
        ("direct", "raw", "direct"),
        ("links/a.csv", "raw/a.csv", "links/a.csv"),
        ("sideways", "raw", "sideways/../raw"),
    ],
)
def test_nothing_is_written_where_a_link_of_the_commit_leads(
    workbench: TinyWorkbench, link: str, target: str, path: str, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    first = outside / "raw" / "a.csv"
    first.parent.mkdir(parents=True)
    first.write_text("1,2\n", encoding="utf-8")
    (workbench.path / link).parent.mkdir(exist_ok=True)
    (workbench.path / link).symlink_to(outside / target)
    workbench.commit()
    run_id = workbench.train(f"a link at {link}", f"data.path={path}")
    workbench.identical(run_id)  # the link is no reason to refuse
    backup = Path(shutil.copytree(outside / "raw", tmp_path / "backup"))
    given = backup / "a.csv" if path.endswith("a.csv") else backup
    first.with_name("new.csv").write_text("5\n", encoding="utf-8")
    for content in ("1,2\n", "1,3\n"):
        first.write_text(content, encoding="utf-8")
        for options in ([], ["--data", str(given)]):
            answer = workbench.reproduce(run_id, *options)
            assert content_of(outside) == {"a.csv": content, "new.csv": "5\n"}
            if path.endswith("a.csv") and content == "1,2\n":
                assert answer.status == 0, answer.errors
            else:
                assert answer.status == 2
                assert f"a link in the run's commit leads to {outside / 'raw'}" in answer.errors


def test_nothing_is_written_where_a_link_in_the_data_leads(workbench: TinyWorkbench, tmp_path: Path) -> None:
    own = workbench.elsewhere(Path(shutil.copytree(workbench.path, tmp_path / "own", symlinks=True)))
    own.edit(".gitignore", "/data/raw/\n", "/data/raw/\n/aside/kept/\n")
    own.write("aside/kept/a.csv", "1,2\n")
    (own.path / "aside" / "again").symlink_to(own.path / "aside" / "kept")  # absolute: it leads here from any checkout
    own.commit()
    run_id = own.train("a link in the data", "data.path=aside")
    backup = Path(shutil.copytree(own.path / "aside", tmp_path / "backup"))
    for content in ("1,2\n", "1,3\n"):
        own.write("aside/kept/a.csv", content)
        for options in ([], ["--data", str(backup)]):
            message = own.refused(run_id, *options)
            assert f"a link in the run's commit leads to {own.path / 'aside' / 'kept'}" in message
            assert (own.path / "aside" / "kept" / "a.csv").read_text("utf-8") == content


def test_data_is_put_where_a_link_leads_inside_the_commit(workbench: TinyWorkbench) -> None:
    workbench.edit(".gitignore", "/data/raw/\n", "/data/raw/\n/kept/raw\n")
    workbench.write("kept/note.txt", "The data lies here.\n")
    workbench.write("kept/raw/a.csv", "1,2\n")
    (workbench.path / "pointing").symlink_to("kept/raw")
    workbench.commit()
    run_id = workbench.train("a link inside", "data.path=pointing")
    workbench.identical(run_id)
    workbench.write("kept/raw/new.csv", "5\n")
    workbench.identical(run_id)  # from each of its files
    assert content_of(workbench.path / "kept" / "raw") == {"a.csv": "1,2\n", "new.csv": "5\n"}
