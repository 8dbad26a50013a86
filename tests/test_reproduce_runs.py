"""`repro reproduce` for runs of all kinds: real runs are reproduced from their ids, and each difference is named."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, ignore_patterns
from subprocess import CompletedProcess

import pytest
from reproductions import NOTES, Answer, TinyWorkbench
from workbench import RecordedRun


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> TinyWorkbench:
    return TinyWorkbench.new(run_in, project, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def clean(workbench: TinyWorkbench) -> RecordedRun:
    """A run of a clean commit, before it is reproduced."""
    return workbench.by_id(workbench.train("clean"))


@pytest.fixture(scope="module")
def reproduced(workbench: TinyWorkbench, clean: RecordedRun) -> Answer:
    """The answer to the reproduction of the clean run. Nothing outside the store may change by it."""
    before = outside_the_store(workbench)
    answer = workbench.reproduce(clean.id)
    assert outside_the_store(workbench) == before
    return answer


def outside_the_store(workbench: TinyWorkbench) -> dict[Path, bytes]:
    """Every file of the project and its repository, except caches and git's objects, which may only be added to."""
    left_out = (workbench.path / ".cache", workbench.path / ".git" / "objects")
    return {
        path: path.read_bytes()
        for path in workbench.path.rglob("*")
        if path.is_file() and not any(path.is_relative_to(folder) for folder in left_out)
    }


def test_a_reproduction_is_identical_and_leaves_the_project_as_it_was(
    workbench: TinyWorkbench, clean: RecordedRun, reproduced: Answer
) -> None:
    assert (reproduced.status, reproduced.errors) == (0, "")
    assert (reproduced.report["verdict"], reproduced.differing, reproduced.report["forced"]) == ("identical", set(), [])
    assert not (workbench.path / ".git" / "worktrees").exists()


def test_a_reproduction_is_a_whole_run_that_names_its_origin(
    workbench: TinyWorkbench, clean: RecordedRun, reproduced: Answer
) -> None:
    reproduction = workbench.by_id(reproduced.report["reproduction"])
    assert (reproduction.status, reproduction.tags["reproduces"]) == ("FINISHED", clean.id)
    assert reproduction.metrics == clean.metrics
    first, second = (json.loads((run.evidence / "manifest.json").read_text("utf-8")) for run in (clean, reproduction))
    for tag in ("git_commit", "git_dirty", "git_remote", "data_version", "config_digest", "lock_digest", "author"):
        assert first["tags"][tag] == second["tags"][tag], tag
    assert second["environment"]["drift"] == []
    assert second["entry_point"] == "scripts/tiny.py"
    original = workbench.by_id(clean.id)
    assert original.tags["reproduced_by"] == reproduction.id
    assert original.tags["reproduced_verdict"] == reproduction.tags["reproduces_verdict"] == "identical"
    assert workbench.run("repro", "validate", reproduction.id).returncode == 0
    assert workbench.run("repro", "validate", clean.id).returncode == 0


def test_numbers_that_json_lacks_equal_themselves(reproduced: Answer) -> None:
    found = {finding["name"]: finding for finding in reproduced.report["runs"][0]["findings"]}
    assert found["not a number"]["a"] == found["not a number"]["b"] == "nan"
    assert found["infinite"]["outcome"] == "identical"


def test_a_reproduction_is_reproduced_offline_from_a_project_in_any_state_and_shown_as_a_table(
    workbench: TinyWorkbench, reproduced: Answer, tmp_path: Path
) -> None:
    run_id = reproduced.report["reproduction"]  # a reproduction is a run like any other
    copy = workbench.elsewhere(Path(copytree(workbench.path, tmp_path / "copy", ignore=ignore_patterns(".cache"))))
    copy.write("scripts/tiny.py", "this is no Python")
    machinery = copy.machinery / "tracking" / "run.py"
    machinery.write_text("raise SystemExit('the machinery of today')\n", encoding="utf-8")
    copy.write(NOTES, 'NOTE = "another"\n')
    copy.git("rm", "--quiet", "configs/tiny.yaml")
    copy.write("requirements.txt", "no lock at all\n")
    status = copy.git("status", "--porcelain")
    # Nothing is installed twice: this could install nothing.
    env = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "empty"), "REPRODUCIBILITY_PROJECT": str(copy.path)}
    done = copy.run("repro", "reproduce", run_id[:12], cwd=copy.path / "configs", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "IDENTICAL: every metric at every step, every file and every model is the same" in done.stdout
    assert run_id in done.stdout
    assert "loss" in done.stdout
    assert "learned.txt" in done.stdout
    assert copy.by_id(copy.by_id(run_id).tags["reproduced_by"]).tags["git_dirty"] == "false"
    assert copy.git("status", "--porcelain") == status


def test_the_reproduction_of_a_dirty_run_has_its_patch(workbench: TinyWorkbench) -> None:
    workbench.write(NOTES, 'NOTE = "changed"\n')
    workbench.write("configs/loose.yaml", "not part of it\n")
    (workbench.path / "picture.bin").write_bytes(bytes(range(256)) * 3)
    try:
        dirty = workbench.by_id(workbench.train("dirty"))
    finally:
        workbench.git("checkout", "--quiet", ".")
        workbench.git("clean", "--quiet", "--force")
    reproduction = workbench.identical(dirty.id)
    assert reproduction.tags["git_dirty"] == "true"
    patches = [(run.evidence / "uncommitted.patch").read_bytes() for run in (dirty, reproduction)]
    assert patches[0] == patches[1]
    assert b"picture.bin" in patches[0]


def test_runs_inside_a_run_are_reproduced_with_it(workbench: TinyWorkbench) -> None:
    family = workbench.train("family", "quirk=runs inside")
    inner = next(run for run in workbench.every_run() if run.name == "b")
    answer = workbench.reproduce(inner.id)
    assert answer.status == 0, answer.errors
    assert [run["name"] for run in answer.report["runs"]] == ["", "a", "b", "plain"]
    pair = next(run for run in answer.report["runs"] if run["name"] == "b")
    assert (pair["a"], pair["b"]) == (inner.id, answer.report["reproduction"])
    reproduction = workbench.by_id(pair["b"])
    assert reproduction.tags["reproduces"] == inner.id
    assert workbench.by_id(inner.id).tags["reproduced_by"] == reproduction.id
    assert reproduction.metrics == inner.metrics
    assert workbench.by_id(family).tags["reproduced_verdict"] == "identical"
    assert workbench.script("compare_with_last.py", family).stdout.strip() == "identical"


@pytest.mark.parametrize("seed", ["0", None])
def test_a_reproduction_has_the_hash_seed_of_its_run(workbench: TinyWorkbench, seed: str | None) -> None:
    run_id = workbench.train(f"hash seed {seed}", "quirk=hash order", env={"PYTHONHASHSEED": seed})
    answer = workbench.reproduce(run_id, env={"PYTHONHASHSEED": "3"})
    if seed is None:
        assert answer.status in (0, 1)  # one in forty is identical
        assert answer.differing <= {("metric", "order")}
    else:
        assert answer.status == 0, answer.report


def test_a_difference_is_named_by_metric_step_and_both_values(workbench: TinyWorkbench) -> None:
    chance = workbench.train("chance", "quirk=chance")
    answer = workbench.reproduce(chance)
    assert (answer.status, answer.report["verdict"]) == (1, "different")
    assert answer.differing == {("metric", "loss")}
    first = answer.report["first_difference"]
    assert (first["name"], first["step"]) == ("loss", 2)
    assert first["a"] != first["b"]
    tags = workbench.by_id(chance).tags
    assert tags["reproduced_note"] == f"metric loss at step 2 is {first['a']!r} and {first['b']!r}"
    assert tags["reproduced_verdict"] == "different"
    assert workbench.by_id(answer.report["reproduction"]).tags["reproduces_verdict"] == "different"


def test_the_policy_says_how_close_is_close_enough(workbench: TinyWorkbench) -> None:
    run_id = workbench.train("jitter", "quirk=jitter")
    try:
        workbench.edit("configs/base.yaml", "rtol: 0.0", "rtol: 1e-6")
        answer = workbench.reproduce(run_id)
        assert (answer.status, answer.report["verdict"]) == (0, "within tolerance")
        assert answer.report["first_difference"]["name"] == "loss"
        workbench.edit("configs/base.yaml", "rtol: 1e-6", "rtol: 0.0")
        assert workbench.script("compare_with_last.py", run_id).stdout.startswith("different metric loss at step")
        workbench.edit("configs/base.yaml", '"system/*"', '"system/*", "lo*"')
        assert workbench.script("compare_with_last.py", run_id).stdout.strip() == "identical"
    finally:
        workbench.git("checkout", "--quiet", ".")


def test_a_run_in_the_shape_of_the_lecture_is_reproduced(workbench: TinyWorkbench) -> None:
    workbench.identical(workbench.train("lecture", script="lecture.py"))


def test_a_script_without_options_is_reproduced_without_any(workbench: TinyWorkbench) -> None:
    workbench.identical(workbench.train("fixed", script="fixed.py"))


def test_a_script_that_ends_before_its_run_is_named(workbench: TinyWorkbench) -> None:
    run_id = workbench.train("stubborn", script="stubborn.py", env={"DOOR": "open"})
    message = workbench.refused(run_id)
    assert "there is no door" in message
    assert "entry point: stubborn.py ended with status 1 before it recorded a run" in message
    workbench.identical(run_id, env={"DOOR": "open"})


def test_a_script_that_runs_another_config_reproduces_nothing(workbench: TinyWorkbench) -> None:
    run_id = workbench.train("fixed elsewhere", script="fixed.py", env={"RATE": "0.7"})
    assert "config_digest: the reproduction, " in workbench.refused(run_id)
    answer = workbench.reproduce(run_id, "--force")
    assert (answer.status, answer.report["verdict"]) == (1, "different")
    assert answer.report["forced"][0].startswith("config_digest: ")


def test_a_model_is_compared_by_its_content(workbench: TinyWorkbench) -> None:
    """The sample experiment logs one: two trainings give files with other ids, times and addresses, and one digest."""
    before = {run.id for run in workbench.every_run()}
    small = "--set=model.n_estimators=5"
    trained = workbench.run("python", "scripts/train.py", "--config", "configs/experiment.yaml", small)
    assert trained.returncode == 0, trained.stderr
    (sample,) = (run for run in workbench.every_run() if run.id not in before)
    workbench.identical(sample.id)
    first, second = sorted((workbench.store.parent / "mlartifacts" / "models").glob("*/artifacts"))
    for name in ("MLmodel", "model.skops"):
        assert (first / name).read_bytes() != (second / name).read_bytes()
    with zipfile.ZipFile(first / "model.skops") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name, content = next((name, content) for name, content in entries.items() if name.endswith(".npy"))
    with zipfile.ZipFile(first / "model.skops", "w") as archive:
        for entry, data in (entries | {name: content[:-1] + bytes([content[-1] ^ 1])}).items():
            archive.writestr(entry, data)
    compared = workbench.script("compare_with_last.py", sample.id)
    assert compared.stdout.strip() == "different model model has another content"
