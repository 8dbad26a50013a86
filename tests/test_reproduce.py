"""`repro reproduce`: real runs are made again from their ids, and of one thing broken exactly that is named.

One project with a dependency of its own, `tinydep`, whose wheels lie in a folder: so a lock can have versions that no
package index knows.
"""

import base64
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, ignore_patterns
from subprocess import CompletedProcess
from typing import Any

import pytest
from blake3 import blake3
from workbench import RecordedRun, Workbench, store_at

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signals to processes")

TINY = '''
"""A tiny experiment with quirks: python scripts/tiny.py --config configs/tiny.yaml"""

import os, random, time
import mlflow, tinydep
from reproducibility import PROJECT_ROOT, Config, Section, experiment_command, tracked_run
from PACKAGE.notes import NOTE


class Data(Section):
    path: str


class Tiny(Config):
    experiment_name: str
    seed: int
    data: Data
    rate: float
    quirk: str


def learn(config, run):
    place = PROJECT_ROOT / config.data.path
    rows = sum(len(file.read_bytes()) for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file())
    for step in range(4):
        chance = int.from_bytes(os.urandom(4)) + 1 if config.quirk == "chance" and step == 2 else 0
        jitter = os.urandom(1)[0] * 1e-12 if config.quirk == "jitter" else 0
        mlflow.log_metric("loss", random.random() * config.rate + rows + chance + jitter, step=step)
    if config.quirk == "no number":
        mlflow.log_metrics({"nothing": float("nan"), "everything": float("inf")})
    mlflow.log_metric("order", float(list({f"w{n}" for n in range(40)})[0][1:]))
    mlflow.log_metric("dependency", tinydep.VALUE)
    mlflow.log_param("learned", str(rows))
    mlflow.log_text(f"{NOTE} {rows} {random.random()}", "learned.txt")
    if config.quirk == "has runs inside":
        for name in ("a", "b"):
            with tracked_run(config, run_name=name):
                mlflow.log_metric("inner", random.random())
        with mlflow.start_run(run_name="plain", nested=True):
            mlflow.log_metric("inner", random.random())
    if config.quirk == "waits":
        hold = os.environ.get("HOLD", "")
        if hold:
            open(hold + ".there", "w").close()
        while hold and os.path.exists(hold):
            time.sleep(0.05)


def run_experiment(config: Tiny) -> str:
    """A tiny experiment."""
    with tracked_run(config, run_name=os.environ.get("RUN_NAME")) as run:
        learn(config, run)
    return run.info.run_id


if __name__ == "__main__":
    experiment_command(Tiny, run_experiment)()
'''
# Takes no config at all: what it runs stands in the code.
FIXED = """
import os, sys
from reproducibility import PROJECT_ROOT, load
from tiny import Tiny, run_experiment

if len(sys.argv) > 1 and "stubborn" in __file__:
    sys.exit("this script takes no options")
changes = [f"rate={os.environ['RATE']}"] if "RATE" in os.environ else []
run_experiment(load(PROJECT_ROOT / "configs" / "tiny.yaml", Tiny, changes))
"""
# Code that has a run of its own.
LECTURE = """
import os
import mlflow
from reproducibility import PROJECT_ROOT, load, log_reproducibility_info, validate_required_tags
from tiny import Tiny, learn

config = load(PROJECT_ROOT / "configs" / "tiny.yaml", Tiny)
with mlflow.start_run(run_name=os.environ.get("RUN_NAME")) as run:
    log_reproducibility_info(config)
    learn(config, run)
    validate_required_tags()
"""
MAIN = "import sys; from reproducibility.cli import main; main(sys.argv[1:])"


RECHECK = """
import sys
from reproducibility.reproduce.reproduce import compare_again
verdict = compare_again(sys.argv[1])
print(verdict.outcome, verdict.first_difference or "")
"""


@dataclass(frozen=True)
class Said:
    """What the command answered with ``--json``: its status, the object, and what it said beside it."""

    status: int
    answer: dict[str, Any]
    errors: str

    @property
    def differing(self) -> set[tuple[str, str]]:
        """Kind and name of everything that did not come out the same."""
        found = (finding for run in self.answer["runs"] for finding in run["findings"])
        return {(finding["kind"], finding["name"]) for finding in found if finding["outcome"] == "different"}


class Workbench(Workbench):
    """A workbench in which one version of `tinydep` is installed, beside what the shared environment has."""

    def __init__(self, run_in: Callable[..., CompletedProcess[str]], path: Path, shelf: Path, store: Path) -> None:
        super().__init__(run_in, path)
        self.shelf, self.store, self.installed = shelf, store, "1.0"

    def run(self, *argv: str | Path, env: dict[str, str | None] | None = None, **options: Any) -> CompletedProcess[str]:
        path = os.pathsep.join([str(self.path / "src"), str(self.shelf / self.installed)])
        own = {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "UV_FIND_LINKS": str(self.shelf / "wheels")}
        return super().run(*argv, env=own | store_at(self.store) | dict(env or {}), **options)

    def train(
        self, name: str, *changes: str, script: str = "scripts/tiny.py", env: dict[str, str] | None = None
    ) -> str:
        """Record a run of the tiny experiment under a name; return its id."""
        options = ["--config", "configs/tiny.yaml", *(f"--set={change}" for change in changes)]
        options = options if script == "scripts/tiny.py" else []
        done = self.run("python", script, *options, env={"RUN_NAME": name} | dict(env or {}))
        assert done.returncode == 0, done.stdout + done.stderr
        return self.runs()[name].id

    def reproduce(self, *options: str, **more: Any) -> Said:
        done = self.python(MAIN, "reproduce", *options, "--json", **more)
        assert "reproducibility/cli.py" not in done.stderr, done.stderr  # a traceback of ours
        return Said(done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr)

    def identical(self, run_id: str, *options: str, **more: Any) -> RecordedRun:
        """See that a run comes out the same; return the new one."""
        said = self.reproduce(run_id, *options, **more)
        assert said.status == 0, (said.answer, said.errors)
        assert (said.answer["verdict"], said.differing, said.answer["forced"]) == ("identical", set(), [])
        again = self.by_id(said.answer["reproduction"])
        assert (again.status, again.tags["reproduces"]) == ("FINISHED", said.answer["run"])
        return again

    def refused(self, *options: str, **more: Any) -> str:
        """See that nothing could be told; return why, in one line."""
        said = self.reproduce(*options, **more)
        assert (said.status, said.answer) == (2, {}), (said.answer, said.errors)
        return " ".join(said.errors.split())

    def elsewhere(self, path: Path) -> "Workbench":
        """Return a workbench in another copy or clone of the project; the store is the same."""
        environments = self.path / ".cache" / "environments"
        if environments.exists() and not (path / ".cache" / "environments").exists():
            (path / ".cache").mkdir(exist_ok=True)
            (path / ".cache" / "environments").symlink_to(environments)
        return Workbench(self._run_in, path, self.shelf, self.store)

    def by_id(self, run_id: str) -> RecordedRun:
        return next(run for run in self.every_run() if run.id == run_id)


def wheel(folder: Path, version: str) -> str:
    """Put the wheel of `tinydep` into *folder*; return the line of a lock that pins it."""
    info = f"tinydep-{version}.dist-info"
    files = {
        "tinydep.py": f"VALUE = {version}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tinydep\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={hashed(content)},{len(content)}\n" for name, content in files.items())
    path = folder / f"tinydep-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            archive.writestr(name, content)
    return f"tinydep=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def hashed(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions 1.0 and 2.0 of `tinydep`, as wheels and unpacked; `locks` has a line for each, and for 3.0."""
    shelf = tmp_path_factory.mktemp("shelf")
    (shelf / "wheels").mkdir()
    (shelf / "locks").mkdir()
    for version in ("1.0", "2.0", "3.0"):
        (shelf / "locks" / version).write_text(wheel(shelf / "wheels", version), encoding="utf-8")
        with zipfile.ZipFile(shelf / "wheels" / f"tinydep-{version}-py3-none-any.whl") as archive:
            archive.extractall(shelf / version)
    (shelf / "wheels" / "tinydep-3.0-py3-none-any.whl").unlink()  # no longer to be had
    return shelf


@pytest.fixture(scope="module")
def bench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, shelf: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    """A project with the tiny experiment. Its policy is the strictest; its data is a folder that git ignores."""
    folder = tmp_path_factory.mktemp("reproduce")
    path = Path(copytree(project, folder / project.name))
    bench = Workbench(run_in, path, shelf, folder / "store" / "mlflow.db")
    bench.edit("configs/base.yaml", "uncommitted_config: snapshot", "uncommitted_config: refuse")
    bench.edit(".gitignore", ".cache/\n", ".cache/\n/data/raw/\n")
    lock = path / "requirements.txt"
    lock.write_text(lock.read_text("utf-8") + (shelf / "locks" / "1.0").read_text("utf-8"), "utf-8", newline="\n")
    bench.write("src/PACKAGE/notes.py".replace("PACKAGE", bench.package), 'NOTE = "first"\n')
    bench.write("scripts/tiny.py", TINY)
    bench.write("scripts/fixed.py", FIXED)
    bench.write("scripts/stubborn.py", FIXED)
    bench.write("scripts/lecture.py", LECTURE)
    bench.write("configs/tiny.yaml", "extends: base.yaml\ndata:\n  path: data/raw\nrate: 0.5\nquirk: none\n")
    bench.write("data/raw/a.csv", "1,2\n")
    bench.write("data/raw/more/b.csv", "3,4\n")
    bench.commit()
    return bench


def outside_the_store(bench: Workbench) -> dict[Path, bytes]:
    """Every file of the project and its repository, but for caches and for git's objects, which are only added to."""
    left_out = (bench.path / ".cache", bench.path / ".git" / "objects")
    return {
        path: path.read_bytes()
        for path in bench.path.rglob("*")
        if path.is_file() and not any(path.is_relative_to(folder) for folder in left_out)
    }


@pytest.fixture(scope="module")
def clean(bench: Workbench) -> RecordedRun:
    bench.train("clean")
    return bench.runs()["clean"]


def test_a_run_comes_out_the_same_and_nothing_of_the_user_is_touched(bench: Workbench, clean: RecordedRun) -> None:
    before = outside_the_store(bench)
    again = bench.identical(clean.id)
    assert outside_the_store(bench) == before
    assert not (bench.path / ".git" / "worktrees").exists()
    assert again.metrics == clean.metrics
    first, second = (json.loads((run.evidence / "manifest.json").read_text("utf-8")) for run in (clean, again))
    for tag in ("git_commit", "git_dirty", "git_remote", "data_version", "config_digest", "lock_digest", "author"):
        assert first["tags"][tag] == second["tags"][tag], tag
    assert second["environment"]["drift"] == []
    assert second["environment"]["packages"]["tinydep"] == "1.0"
    assert second["entry_point"] == "scripts/tiny.py"
    original = bench.by_id(clean.id)
    assert original.tags["reproduced_by"] == again.id
    assert original.tags["reproduced_verdict"] == again.tags["reproduces_verdict"] == "identical"
    assert bench.run("repro", "validate", again.id).returncode == 0
    assert bench.run("repro", "validate", clean.id).returncode == 0


def test_the_table_reads_well_and_the_second_time_nothing_is_installed(bench: Workbench, clean: RecordedRun) -> None:
    bench.identical(clean.id)
    nowhere = {"UV_FIND_LINKS": "", "UV_OFFLINE": "1", "UV_CACHE_DIR": str(bench.shelf / "empty")}
    done = bench.run("repro", "reproduce", clean.id[:9], env=nowhere)
    assert done.returncode == 0, done.stderr
    assert "IDENTICAL: every metric at every step, every file and every model is the same" in done.stdout
    assert f"run {clean.id}, made again as " in done.stdout
    assert "loss" in done.stdout
    assert "learned.txt" in done.stdout
    assert done.stderr == ""


def test_it_works_from_a_project_in_any_state(bench: Workbench, clean: RecordedRun, tmp_path: Path) -> None:
    copy = bench.elsewhere(Path(copytree(bench.path, tmp_path / "copy", ignore=ignore_patterns(".cache"))))
    copy.write("scripts/tiny.py", "this is no Python")
    tracking = (copy.machinery / "tracking.py").relative_to(copy.path)
    copy.edit(str(tracking), "import json", "raise SystemExit('the machinery of today')\nimport json")
    copy.write("src/PACKAGE/notes.py".replace("PACKAGE", copy.package), 'NOTE = "another"\n')
    copy.git("rm", "--quiet", "configs/tiny.yaml")
    copy.edit("requirements.txt", "tinydep==1.0", "tinydep==9.9")
    status = copy.git("status", "--porcelain")
    again = copy.identical(clean.id, cwd=copy.path / "configs")
    assert again.tags["git_dirty"] == "false"
    assert copy.git("status", "--porcelain") == status


# --- runs of all kinds


def test_a_dirty_run_comes_out_the_same_from_its_patch(bench: Workbench) -> None:
    bench.write("src/PACKAGE/notes.py".replace("PACKAGE", bench.package), 'NOTE = "changed"\n')
    bench.write("configs/loose.yaml", "not part of it\n")
    (bench.path / "picture.bin").write_bytes(bytes(range(256)) * 3)
    try:
        dirty = bench.by_id(bench.train("dirty"))
    finally:
        bench.git("checkout", "--quiet", ".")
        bench.git("clean", "--quiet", "--force")
    again = bench.identical(dirty.id)
    assert again.tags["git_dirty"] == "true"
    patches = [(run.evidence / "uncommitted.patch").read_bytes() for run in (dirty, again)]
    assert patches[0] == patches[1]
    assert b"picture.bin" in patches[0]
    assert bench.identical(again.id).tags["reproduces"] == again.id  # a chain


def test_runs_inside_a_run_are_made_again_with_it(bench: Workbench) -> None:
    family = bench.train("family", "quirk=has runs inside")
    said = bench.reproduce(family)
    assert said.status == 0, said.errors
    assert [run["name"] for run in said.answer["runs"]] == ["", "a", "b", "plain"]
    inner = next(run for run in bench.every_run() if run.name == "b")
    said = bench.reproduce(inner.id)
    assert said.status == 0, said.errors
    pair = next(run for run in said.answer["runs"] if run["name"] == "b")
    assert (pair["first"], pair["second"]) == (inner.id, said.answer["reproduction"])
    again = bench.by_id(pair["second"])
    assert again.tags["reproduces"] == inner.id
    assert bench.by_id(inner.id).tags["reproduced_by"] == again.id
    assert again.metrics == inner.metrics


@pytest.mark.parametrize("seed", ["0", "7", None])
def test_the_hash_seed_is_the_runs(bench: Workbench, seed: str | None) -> None:
    run_id = bench.train(f"hash seed {seed}", env={"PYTHONHASHSEED": seed})
    said = bench.reproduce(run_id, env={"PYTHONHASHSEED": "3"})
    if seed is None:
        assert said.status in (0, 1)  # one in forty comes out the same
        assert said.differing <= {("metric", "order")}
    else:
        assert said.status == 0, said.answer


def test_numbers_that_are_none_equal_themselves(bench: Workbench) -> None:
    run_id = bench.train("no number", "quirk=no number")
    said = bench.reproduce(run_id)
    assert said.status == 0, said.answer
    found = {finding["name"]: finding["first"] for finding in said.answer["runs"][0]["findings"]}
    assert found["nothing"] == "nan"


def test_a_difference_is_named_by_metric_step_and_both_values(bench: Workbench) -> None:
    chance = bench.by_id(bench.train("chance", "quirk=chance"))
    said = bench.reproduce(chance.id)
    assert (said.status, said.answer["verdict"]) == (1, "different")
    assert said.differing == {("metric", "loss")}
    first = said.answer["first_difference"]
    assert (first["name"], first["step"]) == ("loss", 2)
    assert first["first"] != first["second"]
    note = bench.by_id(chance.id).tags["reproduced_note"]
    assert note == f"metric loss at step 2 is {first['first']!r} and {first['second']!r}"
    assert bench.by_id(chance.id).tags["reproduced_verdict"] == "different"
    assert bench.by_id(said.answer["reproduction"]).tags["reproduces_verdict"] == "different"


def test_the_policy_says_how_close_is_close_enough(bench: Workbench) -> None:
    run_id = bench.train("jitter", "quirk=jitter")
    assert bench.reproduce(run_id).status == 1
    bench.edit("configs/base.yaml", "rtol: 0.0", "rtol: 1e-6")
    try:
        said = bench.reproduce(run_id)
        assert (said.status, said.answer["verdict"]) == (0, "within tolerance")
        assert said.answer["first_difference"]["name"] == "loss"
        bench.edit("configs/base.yaml", '"system/*"', '"system/*", "lo*"')
        bench.edit("configs/base.yaml", "rtol: 1e-6", "rtol: 0.0")
        assert bench.reproduce(run_id).answer["verdict"] == "identical"
    finally:
        bench.git("checkout", "--quiet", ".")


def test_a_run_in_the_lectures_shape_is_made_again(bench: Workbench) -> None:
    bench.identical(bench.train("lecture", script="scripts/lecture.py"))


def test_a_script_without_options_runs_what_it_ran(bench: Workbench) -> None:
    bench.identical(bench.train("fixed", script="scripts/fixed.py"))


def test_a_script_that_takes_no_config_is_named(bench: Workbench) -> None:
    said = bench.refused(bench.train("stubborn", script="scripts/stubborn.py"))
    assert "this script takes no options" in said
    assert "entry point: stubborn.py ended with status 1 before it recorded a run" in said


def test_a_script_that_runs_another_config_repeats_nothing(bench: Workbench) -> None:
    run_id = bench.train("fixed elsewhere", script="scripts/fixed.py", env={"RATE": "0.7"})
    assert "config_digest: the second run, " in bench.refused(run_id)
    said = bench.reproduce(run_id, "--force")
    assert (said.status, said.answer["verdict"]) == (1, "different")
    assert said.answer["forced"][0].startswith("config_digest: ")


def test_a_model_is_compared_by_what_is_in_it(bench: Workbench) -> None:
    """The sample experiment logs one: two trainings give files with other ids, times and addresses, and one digest."""
    before = {run.id for run in bench.every_run()}
    trained = bench.run("python", "scripts/train.py", "--config", "configs/experiment.yaml")
    assert trained.returncode == 0, trained.stderr
    (sample,) = (run for run in bench.every_run() if run.id not in before)
    bench.identical(sample.id)
    first, second = sorted((bench.store.parent / "mlartifacts" / "models").glob("*/artifacts"))
    for name in ("MLmodel", "model.skops"):
        assert (first / name).read_bytes() != (second / name).read_bytes()
    with zipfile.ZipFile(first / "model.skops") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name, content = next((name, content) for name, content in entries.items() if name.endswith(".npy"))
    with zipfile.ZipFile(first / "model.skops", "w") as archive:
        for entry, data in (entries | {name: content[:-1] + bytes([content[-1] ^ 1])}).items():
            archive.writestr(entry, data)
    assert bench.python(RECHECK, sample.id).stdout.split() == [
        "different",
        "model",
        "model",
        "has",
        "another",
        "content",
    ]


# --- from elsewhere, and later


def clone(bench: Workbench, remote: Path, path: Path, *options: str) -> Workbench:
    bench.git("clone", "--quiet", *options, remote.as_uri(), str(path))
    for key in ("user.name", "user.email"):
        bench.git("-C", str(path), "config", key, bench.git("config", key))
    copytree(bench.path / "data" / "raw", path / "data" / "raw", dirs_exist_ok=True)
    return bench.elsewhere(path)


@pytest.fixture(scope="module")
def remote(bench: Workbench, clean: RecordedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A remote in which the commit of the clean run is not the newest one."""
    folder = tmp_path_factory.mktemp("remote")
    bench.git("clone", "--quiet", "--bare", str(bench.path), str(folder / "origin.git"))
    writer = clone(bench, folder / "origin.git", folder / "writer")
    writer.write("src/PACKAGE/notes.py".replace("PACKAGE", writer.package), 'NOTE = "newer"\n')
    writer.commit()
    writer.git("push", "--quiet", "origin", "HEAD:main")
    return folder / "origin.git"


def test_a_commit_that_is_not_here_is_fetched_and_no_branch_is_touched(
    bench: Workbench, clean: RecordedRun, remote: Path, tmp_path: Path
) -> None:
    shallow = clone(bench, remote, tmp_path / "shallow", "--depth=1")
    references = shallow.git("for-each-ref")
    shallow.identical(clean.id)
    assert shallow.git("for-each-ref") == references
    assert not (shallow.path / ".git" / "FETCH_HEAD").exists()


def test_a_commit_that_is_nowhere_is_named(bench: Workbench, remote: Path, tmp_path: Path) -> None:
    other = clone(bench, remote, tmp_path / "other")
    other.write("src/PACKAGE/notes.py".replace("PACKAGE", other.package), 'NOTE = "never pushed"\n')
    commit = other.commit()
    run_id = other.train("never pushed")
    said = bench.refused(run_id)
    assert f"git_commit: the run's commit {commit} is not in this repository" in said
    assert "push it from the clone that the run was started in" in said
    other.git("remote", "set-url", "origin", str(tmp_path / "gone"))
    other.git("reset", "--quiet", "--hard", "HEAD~1")
    other.git("reflog", "expire", "--expire=now", "--all")
    other.git("gc", "--quiet", "--prune=now")
    assert f"nor in {tmp_path / 'gone'}" in other.refused(run_id)


def test_a_run_of_a_project_that_was_renamed_since(
    bench: Workbench, clean: RecordedRun, remote: Path, tmp_path: Path
) -> None:
    renamed = clone(bench, remote, tmp_path / "renamed")
    renamed.git("mv", f"src/{renamed.package}", "src/another_name")
    for name in ("pyproject.toml", "scripts/train.py", "scripts/tiny.py", "noxfile.py"):
        renamed.edit(name, renamed.package, "another_name")
    renamed.commit()
    renamed.package = "another_name"
    again = renamed.identical(clean.id)
    assert again.tags["git_commit"] == clean.tags["git_commit"]


def test_a_run_of_a_folder_of_a_bigger_repository_that_was_moved_since(
    bench: Workbench, clean: RecordedRun, tmp_path: Path
) -> None:
    bench.git("init", "--quiet", str(tmp_path))
    for key in ("user.name", "user.email"):
        bench.git("-C", str(tmp_path), "config", key, bench.git("config", key))
    copytree(bench.path, tmp_path / "ml", ignore=ignore_patterns(".cache", ".git"))
    inner = bench.elsewhere(tmp_path / "ml")
    inner.commit()
    run_id = inner.train("in a folder")
    inner.identical(run_id)
    (tmp_path / "models").mkdir()
    inner.git("-C", str(tmp_path), "mv", "ml", "models/ml")
    if (tmp_path / "ml").exists():  # what git ignores stayed
        copytree(tmp_path / "ml", tmp_path / "models" / "ml", symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(tmp_path / "ml")
    moved = bench.elsewhere(tmp_path / "models" / "ml")
    moved.commit()
    moved.identical(run_id)


def test_a_run_with_other_packages_than_todays_gets_its_own(
    bench: Workbench, clean: RecordedRun, remote: Path, tmp_path: Path
) -> None:
    newer = clone(bench, remote, tmp_path / "newer")
    old, new = ((bench.shelf / "locks" / version).read_text("utf-8") for version in ("1.0", "2.0"))
    newer.edit("requirements.txt", old, new)
    newer.commit()
    newer.installed = "2.0"
    run_id = newer.train("newer")
    assert newer.by_id(run_id).metrics["dependency"] == 2.0
    assert newer.identical(clean.id).metrics["dependency"] == 1.0
    newer.installed = "1.0"
    assert newer.identical(run_id).metrics["dependency"] == 2.0


def test_one_package_that_was_not_the_locked_one_is_named(
    bench: Workbench, clean: RecordedRun, remote: Path, tmp_path: Path
) -> None:
    drifted = clone(bench, remote, tmp_path / "drifted")
    drifted.edit("configs/base.yaml", "environment_drift: refuse", "environment_drift: record")
    drifted.commit()
    drifted.installed = "2.0"
    run_id = drifted.train("drifted")
    said = drifted.reproduce(run_id)
    assert (said.status, said.differing) == (1, {("metric", "dependency")})
    named = [condition for condition in said.answer["conditions"] if condition["name"].startswith("package")]
    assert named == [{"name": "package tinydep", "first": "2.0", "second": "1.0"}]


def test_packages_that_cannot_be_had_are_named_and_leave_nothing_half_made(
    bench: Workbench, remote: Path, clean: RecordedRun, tmp_path: Path
) -> None:
    gone = clone(bench, remote, tmp_path / "gone")
    old, new = ((bench.shelf / "locks" / version).read_text("utf-8") for version in ("1.0", "3.0"))
    gone.edit("requirements.txt", old, new)
    gone.commit()
    gone.installed = "3.0"
    run_id = gone.train("gone")
    before = set((gone.path / ".cache" / "environments").glob("*/"))
    said = gone.refused(run_id)
    assert "environment: the packages of the run cannot be installed: " in said
    assert "tinydep" in said
    assert set((gone.path / ".cache" / "environments").glob("*/")) == before


# --- the data


def test_one_byte_of_data_is_named(bench: Workbench, clean: RecordedRun) -> None:
    bench.write("data/raw/a.csv", "1,3\n")
    bench.write("data/raw/new.csv", "5\n")
    try:
        said = bench.refused(clean.id)
    finally:
        bench.write("data/raw/a.csv", "1,2\n")
        (bench.path / "data/raw/new.csv").unlink()
    assert f"data_version: the data of the run (data/raw, {clean.tags['data_version'][:19]}...)" in said
    assert "changed: a.csv; added since: new.csv" in said
    assert "--data PATH" in said


def test_data_that_lies_elsewhere_now_is_taken_from_there(bench: Workbench, clean: RecordedRun, tmp_path: Path) -> None:
    moved = Path(shutil.move(bench.path / "data" / "raw", tmp_path / "moved"))
    try:
        assert "nothing that can be read is at" in bench.refused(clean.id)
        bench.identical(clean.id, "--data", str(moved))
    finally:
        shutil.move(moved, bench.path / "data" / "raw")


def test_data_is_put_together_from_what_is_left_and_git_history(bench: Workbench, clean: RecordedRun) -> None:
    here = bench.git("rev-parse", "HEAD")
    bench.git("add", "--force", "data/raw/a.csv")
    bench.git("commit", "--quiet", "--message=The data, for once")
    bench.write("data/raw/a.csv", "1,3\n")
    bench.git("commit", "--quiet", "--all", "--message=Other data")
    try:
        bench.identical(clean.id)
        assert (bench.path / "data/raw/a.csv").read_text("utf-8") == "1,3\n"
    finally:
        bench.git("reset", "--quiet", "--soft", here)
        bench.git("reset", "--quiet")
        bench.write("data/raw/a.csv", "1,2\n")


def test_a_committed_file_comes_from_the_commit(bench: Workbench) -> None:
    run_id = bench.train("committed data", "data.path=data/penguins.csv")
    (bench.path / "data/penguins.csv").unlink()
    try:
        bench.identical(run_id)
    finally:
        bench.git("checkout", "--quiet", ".")


@pytest.mark.parametrize("place", ["above", "absolute"])
def test_data_outside_the_project(bench: Workbench, place: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text("7,8\n", encoding="utf-8")
    path = os.path.relpath(outside, bench.path) if place == "above" else str(outside)
    run_id = bench.train(f"data {place}", f"data.path={path}")
    bench.identical(run_id)
    moved = outside.rename(tmp_path / "moved.csv")
    assert "nothing that can be read is at" in bench.refused(run_id)
    said = bench.reproduce(run_id, "--data", str(moved))
    assert (said.status, said.answer["forced"]) == (0, [])
    again = bench.by_id(said.answer["reproduction"])
    assert again.params["data.path"] == (path if place == "above" else str(moved))
    assert bench.run("repro", "validate", again.id).returncode == 0


def test_data_of_dvc_is_pulled_by_the_pointer_of_the_commit(
    bench: Workbench, remote: Path, tmp_path: Path, clean: RecordedRun
) -> None:
    pointing = clone(bench, remote, tmp_path / "pointing")
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
        pytest.skip("dvc is not on PATH, so nothing could be pulled")
    cached = pointing.path / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    pointing.identical(run_id)
    assert (pointing.path / "data/kept.bin").read_text("utf-8") == "later"


# --- broken afterwards

SET_TAG = "UPDATE tags SET value = ? WHERE key = ? AND run_uuid = ?"
SET_PARAM = "UPDATE params SET value = ? WHERE key = ? AND run_uuid = ?"
# Many commands in one process: importing MLflow takes longer than what they do.
IN_ONE_PROCESS = """
import contextlib, io, json, sys
from reproducibility.cli import main
said = {}
for what, options in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main(["reproduce", *options])
        except SystemExit as end:
            said[what] = [end.code, errors.getvalue()]
print(json.dumps(said))
"""


@pytest.fixture
def broken(bench: Workbench, clean: RecordedRun) -> Iterator[tuple[sqlite3.Connection, Path]]:
    """The store and the evidence of the clean run, to break; whole again afterwards."""
    kept = bench.store.with_name("kept")
    shutil.rmtree(kept, ignore_errors=True)
    copytree(clean.evidence.parent, kept)
    content = bench.store.read_bytes()
    with closing(sqlite3.connect(bench.store, isolation_level=None)) as database:
        yield database, clean.evidence
    bench.store.write_bytes(content)
    shutil.rmtree(clean.evidence.parent)
    shutil.move(kept, clean.evidence.parent)


def replace(path: Path, before: str, after: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert before in content
    path.write_text(content.replace(before, after, 1), encoding="utf-8")


def forge(database: sqlite3.Connection, run: RecordedRun, change: Callable[[dict[str, Any]], None]) -> None:
    """Write another manifest, and its digest, as only somebody with the database in hand can."""
    path = run.evidence / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    canonical = json.dumps(manifest, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    database.execute(SET_TAG, (f"blake3:{blake3(canonical).hexdigest()}", "manifest_digest", run.id))


# What is done to a copy of the clean run: a statement, or an edit of one file of its evidence; and what is said then.
ALTERED: dict[str, tuple[tuple[str, ...], str, tuple[str, str], str]] = {
    "the code": ((SET_TAG, "f" * 40, "git_commit"), "", ("", ""), "tags are the manifest's: git_commit: 'ffff"),
    "a config value": ((), "config.yaml", ("rate: 0.5", "rate: 0.6"), "config digest: recorded blake3:"),
    "a package": ((), "requirements.txt", ("tinydep==1.0", "tinydep==2.0"), "lock digest: recorded blake3:"),
    "the seed": ((SET_PARAM, "43", "seed"), "", ("", ""), "params are the manifest's: seed: '43' instead of '42'"),
    "the manifest": ((), "manifest.json", ('"machine": "', '"machine": "x'), "manifest digest: recorded blake3:"),
    "the schema": ((), "manifest.json", ('"schema": 1', '"schema": 2'), "has the schema '2', and this version"),
    "the end": (
        ("UPDATE runs SET status = ? WHERE ? != '' AND run_uuid = ?", "FAILED", "x"),
        "",
        ("", ""),
        "is FAILED",
    ),
}
LOST = ("config.yaml", "requirements.txt", "manifest.json")  # with --force


@pytest.fixture(scope="module")
def altered(bench: Workbench, clean: RecordedRun) -> dict[str, list[str]]:
    """The options of the command for each altered copy of the clean run."""
    ids = {what: f"{number:032x}" for number, what in enumerate([*ALTERED, *LOST])}
    with closing(sqlite3.connect(bench.store)) as database:
        for what, run_id in ids.items():
            for table in ("runs", "tags", "params", "latest_metrics", "metrics"):
                columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
                copied = ", ".join("?" if column == "run_uuid" else column for column in columns)
                query = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {copied} FROM {table} WHERE run_uuid = ?"  # noqa: S608
                database.execute(query, (run_id, clean.id))
            database.execute(
                "UPDATE runs SET name = ?, artifact_uri = replace(artifact_uri, ?, ?) WHERE run_uuid = ?",
                (what, clean.id, run_id, run_id),
            )
            evidence = Path(str(clean.evidence).replace(clean.id, run_id))
            copytree(clean.evidence, evidence)
            if what in LOST:
                (evidence / what).unlink()
                continue
            sql, file, edit, _ = ALTERED[what]
            if sql:
                assert database.execute(sql[0], (*sql[1:], run_id)).rowcount == 1
            if file:
                replace(evidence / file, *edit)
        database.commit()
    return {what: [run_id, *(["--force"] if what in LOST else [])] for what, run_id in ids.items()}


@pytest.fixture(scope="module")
def refusals(bench: Workbench, altered: dict[str, list[str]]) -> dict[str, tuple[int, str]]:
    """What the command said of each, all in one process: {what: (status, message)}. Nothing was recorded meanwhile."""
    before = {run.id for run in bench.every_run()}
    done = bench.python(IN_ONE_PROCESS, json.dumps(altered | {"nothing": ["nothing"], "no id": ["e" * 32]}))
    assert done.returncode == 0, done.stderr
    assert {run.id for run in bench.every_run()} == before
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("what", ALTERED)
def test_what_was_altered_is_named(refusals: dict[str, tuple[int, str]], what: str) -> None:
    status, said = refusals[what]
    assert status == 2
    assert ALTERED[what][3] in said
    assert "Traceback" not in said


@pytest.mark.parametrize("what", LOST)
def test_without_its_evidence_a_run_cannot_be_made_again_even_by_force(refusals, what: str) -> None:
    assert (refusals[what][0], what in refusals[what][1]) == (2, True)


@pytest.mark.parametrize(("what", "named"), [("nothing", "has no run 'nothing'"), ("no id", "has no run 'eeee")])
def test_a_run_that_is_not_there_cannot_be_told(refusals, what: str, named: str) -> None:
    assert (refusals[what][0], named in refusals[what][1]) == (2, True)


def test_an_altered_run_goes_on_by_force_and_the_verdict_says_so(bench, broken, clean) -> None:
    broken[0].execute(SET_TAG, ("f" * 40, "git_commit", clean.id))
    said = bench.reproduce(clean.id, "--force")
    assert (said.status, said.answer["verdict"]) == (0, "identical")
    assert "tags are the manifest's: git_commit" in said.answer["forced"][0]
    assert bench.by_id(clean.id).tags["reproduced_verdict"] == "identical (forced)"


def test_an_artifact_that_was_edited_is_named(bench, broken, clean) -> None:
    replace(clean.evidence.parent / "learned.txt", "first", "worst")
    said = bench.reproduce(clean.id)
    assert (said.status, said.differing) == (1, {("file", "learned.txt")})


def test_a_metric_that_was_edited_is_named_with_its_step(bench, broken, clean) -> None:
    broken[0].execute("UPDATE metrics SET value = 9 WHERE key = 'loss' AND step = 1 AND run_uuid = ?", (clean.id,))
    said = bench.reproduce(clean.id)
    assert (said.status, said.differing) == (1, {("metric", "loss")})
    assert (said.answer["first_difference"]["step"], said.answer["first_difference"]["first"]) == (1, 9)


def test_a_metric_that_was_taken_away_is_named(bench, broken, clean) -> None:
    for table in ("metrics", "latest_metrics"):
        broken[0].execute(f"DELETE FROM {table} WHERE key = 'order' AND run_uuid = ?", (clean.id,))  # noqa: S608
    said = bench.reproduce(clean.id)
    assert (said.status, said.differing) == (1, {("metric", "order")})
    assert (
        bench.by_id(clean.id).tags["reproduced_note"].startswith("metric order at step 0 is in the second run and not")
    )


def test_who_must_rely_on_a_verdict_compares_anew_and_believes_no_tag(bench, broken, clean) -> None:
    unproven = bench.python(RECHECK, bench.identical(clean.id).id)
    assert "reproduced_by: the run was not made again yet. To fix it: repro reproduce" in unproven.stderr
    assert bench.python(RECHECK, clean.id).stdout.strip() == "identical"
    broken[0].execute("UPDATE metrics SET value = 9 WHERE key = 'loss' AND run_uuid = ?", (clean.id,))
    assert bench.by_id(clean.id).tags["reproduced_verdict"] == "identical"
    assert bench.python(RECHECK, clean.id).stdout.split()[:3] == ["different", "metric", "loss"]
    broken[0].execute(SET_TAG, (clean.id, "reproduced_by", clean.id))
    assert "which does not repeat this run" in bench.python(RECHECK, clean.id).stderr


def test_a_run_that_only_says_it_repeats_another_does_not_hold(bench: Workbench, clean: RecordedRun) -> None:
    """The tag lets a config be in no commit: so whoever sets it is held to it."""
    context = json.dumps({"reproduces": clean.id})
    bench.write("configs/mine.yaml", "extends: tiny.yaml\nrate: 0.9\n")
    options = ["python", "scripts/tiny.py", "--config", "configs/mine.yaml"]
    try:
        assert "policy says `uncommitted_config: refuse`" in bench.run(*options).stderr
        done = bench.run(*options, env={"MLFLOW_RUN_CONTEXT": context, "COLUMNS": "300"})
    finally:
        (bench.path / "configs" / "mine.yaml").unlink()
    assert done.returncode == 1
    assert "same origin as the run it reproduces" in done.stdout
    assert "config_digest: blake3:" in done.stdout


def test_another_python_is_an_error_and_by_force_a_condition(bench, broken, clean) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}.99"
    forge(broken[0], clean, lambda manifest: manifest["environment"].update(python=version))
    said = bench.refused(clean.id)
    assert f"interpreter: the run was made with CPython {version}, which is not on this machine" in said
    forced = bench.reproduce(clean.id, "--force")
    assert (forced.status, forced.answer["verdict"]) == (0, "identical")
    assert ("python", version) in [(each["name"], each["first"]) for each in forced.answer["conditions"]]
    assert bench.by_id(clean.id).tags["reproduced_verdict"] == "identical (forced)"


def test_a_patch_that_does_not_apply_is_named(bench: Workbench, tmp_path: Path) -> None:
    bench.write("src/PACKAGE/notes.py".replace("PACKAGE", bench.package), 'NOTE = "patched"\n')
    try:
        run = bench.by_id(bench.train("patched"))
    finally:
        bench.git("checkout", "--quiet", ".")
    replace(run.evidence / "uncommitted.patch", '-NOTE = "first"', '-NOTE = "worst"')
    assert "patch digest: recorded blake3:" in bench.refused(run.id)
    assert "uncommitted.patch: the run's patch does not apply to its commit" in bench.refused(run.id, "--force")
    assert not (bench.path / ".git" / "worktrees").exists()


def test_a_hidden_need_of_the_code_is_said_in_the_codes_own_words(
    bench: Workbench, remote: Path, tmp_path: Path
) -> None:
    """What git ignores and nothing records is not there the second time."""
    hiding = clone(bench, remote, tmp_path / "hiding")
    hiding.edit(
        "scripts/tiny.py", "import mlflow, tinydep\n", "import mlflow, tinydep\nopen(__file__ + '.hidden').close()\n"
    )
    hiding.edit(".gitignore", ".cache/\n", ".cache/\n*.hidden\n")
    hiding.write("scripts/tiny.py.hidden", "")
    hiding.commit()
    said = hiding.refused(hiding.train("hiding"))
    assert "No such file or directory" in said
    assert "tiny.py ended with status 1 before it recorded a run" in said


# --- interrupted


@POSIX
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_no_worktree_and_no_open_run(bench, tmp_path: Path, sent: int, status: int) -> None:
    run_id = bench.train(f"waits for {sent}", "quirk=waits")
    hold = tmp_path / "hold"
    hold.touch()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with started(bench, run_id, env={"HOLD": str(hold), "TMPDIR": str(scratch)}) as process:
        await_file(Path(f"{hold}.there"))
        process.send_signal(sent)
        assert process.wait(timeout=60) == status
    (again,) = (run for run in bench.every_run() if run.tags.get("reproduces") == run_id)
    assert again.status == "FAILED"
    assert again.tags["failure"] == {130: "interrupted with Ctrl-C", 143: "terminated by SIGTERM"}[status]
    assert not (bench.path / ".git" / "worktrees").exists()
    assert list(scratch.iterdir()) == []


@POSIX
def test_a_training_that_is_killed_leaves_no_open_run(bench: Workbench, tmp_path: Path) -> None:
    run_id = bench.train("waits to be killed", "quirk=waits")
    hold = tmp_path / "hold"
    hold.touch()
    with started(bench, run_id, env={"HOLD": str(hold)}) as process:
        await_file(Path(f"{hold}.there"))
        (again,) = (run for run in bench.every_run() if run.tags.get("reproduces") == run_id)
        os.kill(int(again.tags["reproducibility.process"].split()[-2]), signal.SIGKILL)
        assert process.wait(timeout=60) == 2
        assert "ended KILLED: its process ended before the run did" in process.stderr.read()
    assert bench.by_id(again.id).status == "KILLED"
    assert not (bench.path / ".git" / "worktrees").exists()


@contextmanager
def started(bench: Workbench, run_id: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The command, going on beside the test."""
    done = bench.run("python", "-c", "import json, os; print(json.dumps(dict(os.environ)))", env=env)
    command = [*json.loads(done.stdout)["PATH"].split(os.pathsep)[:1], "repro"]
    process = subprocess.Popen(
        [os.path.join(*command), "reproduce", run_id],
        cwd=bench.path,
        env=json.loads(done.stdout),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


def await_file(path: Path) -> None:
    for _ in range(1200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come")
