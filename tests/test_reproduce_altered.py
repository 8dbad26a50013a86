"""`repro reproduce` of runs that were altered afterwards: each alteration is named, and overridden only by force."""

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shutil import copyfile
from subprocess import CompletedProcess
from typing import Any

import pytest
from blake3 import blake3
from reproductions import NOTES, Answer, TinyWorkbench, remote_of
from workbench import RecordedRun, copy_run

SET_TAG = "UPDATE tags SET value = ? WHERE key = ? AND run_uuid = ?"
SET_PARAM = "UPDATE params SET value = ? WHERE key = ? AND run_uuid = ?"
SET_STATUS = "UPDATE runs SET status = ? WHERE ? != '' AND run_uuid = ?"
ANOTHER_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}.99"

# What is done to a copy of the clean run, a statement or an edit of one file of its evidence; and the message then.
ALTERED: dict[str, tuple[tuple[str, ...], str, tuple[str, str], str]] = {
    "the code": ((SET_TAG, "f" * 40, "git_commit"), "", ("", ""), "tags are the manifest's: git_commit: 'ffff"),
    "a config value": ((), "config.yaml", ("rate: 0.5", "rate: 0.6"), "config digest: recorded blake3:"),
    "a package": ((), "requirements.txt", ("mlflow-skinny==", "mlflow-skinny==9."), "lock digest: recorded blake3:"),
    "the seed": ((SET_PARAM, "43", "seed"), "", ("", ""), "params are the manifest's: seed: '43' instead of '42'"),
    "the manifest": ((), "manifest.json", ('"machine": "', '"machine": "x'), "manifest digest: recorded blake3:"),
    "the schema": ((), "manifest.json", ('"schema": 1', '"schema": 2'), "has the schema '2', and this version"),
    "the end": ((SET_STATUS, "FAILED", "x"), "", ("", ""), "is FAILED"),
}
# What is done to the manifest, and the message then: its digest agrees, but nothing can be reproduced from it.
UNUSABLE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no tags": (lambda manifest: manifest["tags"].clear(), "manifest.json is not a manifest: tags.git_commit"),
    "no environment": (lambda manifest: manifest["environment"].clear(), "not a manifest: environment.implementation"),
    "no hash seed": (
        lambda manifest: manifest["environment"].pop("hash_seed"),
        "not a manifest: environment.hash_seed",
    ),
    "data elsewhere": (
        lambda manifest: manifest["data_files"][0].update(path="../../a.csv"),
        "not a manifest: data_files",
    ),
}
LOST = ("config.yaml", "requirements.txt", "manifest.json")  # refused even with --force
UNKNOWN = {"no id": ("nothing", "has no run 'nothing'"), "an unknown id": ("e" * 32, "has no run 'eeee")}


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> TinyWorkbench:
    return TinyWorkbench.new(run_in, project, tmp_path_factory.mktemp("altered"))


@pytest.fixture(scope="module")
def clean(workbench: TinyWorkbench) -> RecordedRun:
    return workbench.by_id(workbench.train("clean"))


class Copies:
    """Copies of the clean run, to alter: `copies("name")` is a new one."""

    def __init__(self, database: sqlite3.Connection, workbench: TinyWorkbench, run: RecordedRun) -> None:
        self.database, self.workbench, self.run = database, workbench, run

    def __call__(self, name: str) -> RecordedRun:
        run_id = blake3(name.encode()).hexdigest(length=16)
        evidence = copy_run(self.database, self.run, run_id, name)
        copyfile(self.run.evidence.parent / "learned.txt", evidence.parent / "learned.txt")
        self.database.commit()
        return self.workbench.by_id(run_id)


@pytest.fixture(scope="module")
def answers(workbench: TinyWorkbench, clean: RecordedRun) -> dict[str, Answer]:
    """What the command answers for each altered copy of the clean run, all in one process."""
    asked = {}
    with closing(sqlite3.connect(workbench.store)) as database:
        copies = Copies(database, workbench, clean)
        for name, (sql, file, edit, _) in ALTERED.items():
            run = copies(name)
            if sql:
                assert database.execute(sql[0], (*sql[1:], run.id)).rowcount == 1
            if file:
                replace(run.evidence / file, *edit)
            asked[name] = [run.id]
        for name in LOST:
            run = copies(name)
            (run.evidence / name).unlink()
            asked[name] = [run.id, "--force"]
        asked["forced"] = [copies("forced").id, "--force"]
        database.execute(SET_TAG, ("f" * 40, "git_commit", asked["forced"][0]))
        asked["another Python"] = [resealed(database, copies("another Python"), come_from_another_python)]
        for name, (change, _) in UNUSABLE.items():
            asked[name] = [resealed(database, copies(name), change), "--force"]
        without_data = copies("a config without data")
        replace(without_data.evidence / "config.yaml", "data:\n", "other:\n")
        asked["a config without data"] = [without_data.id, "--force"]
        asked["another Python, forced"] = [*asked["another Python"], "--force"]
        asked["results"] = [other_results(database, copies("results"))]
        database.commit()
    asked |= {name: [run_id] for name, (run_id, _) in UNKNOWN.items()}
    done = workbench.script(
        "reproduce_each.py", json.dumps({name: [*options, "--json"] for name, options in asked.items()}), timeout=600
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        name: Answer(status, json.loads(output) if output else {}, errors)
        for name, (status, output, errors) in found.items()
    }


def replace(path: Path, before: str, after: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert before in content
    path.write_text(content.replace(before, after, 1), encoding="utf-8")


def resealed(database: sqlite3.Connection, run: RecordedRun, change: Callable[[dict[str, Any]], object]) -> str:
    """Change the manifest of *run*, and the tag with the manifest's digest; return the run's id."""
    path = run.evidence / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    canonical = json.dumps(manifest, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    database.execute(SET_TAG, (f"blake3:{blake3(canonical).hexdigest()}", "manifest_digest", run.id))
    return run.id


def come_from_another_python(manifest: dict[str, Any]) -> None:
    manifest["environment"]["python"] = ANOTHER_PYTHON


def other_results(database: sqlite3.Connection, run: RecordedRun) -> str:
    """Alter a file, a value of a metric, and take another metric away; return the id of *run*."""
    replace(run.evidence.parent / "learned.txt", "first", "worst")
    database.execute("UPDATE metrics SET value = 9 WHERE key = 'loss' AND step = 1 AND run_uuid = ?", (run.id,))
    for table in ("metrics", "latest_metrics"):
        database.execute(f"DELETE FROM {table} WHERE key = 'infinite' AND run_uuid = ?", (run.id,))  # noqa: S608
    return run.id


@pytest.mark.parametrize("name", ALTERED)
def test_what_was_altered_is_named(answers: dict[str, Answer], name: str) -> None:
    assert answers[name].status == 2
    assert ALTERED[name][3] in answers[name].errors
    assert "Traceback" not in answers[name].errors


@pytest.mark.parametrize("name", LOST)
def test_a_run_without_its_evidence_is_not_reproduced_even_by_force(answers: dict[str, Answer], name: str) -> None:
    assert (answers[name].status, name in answers[name].errors) == (2, True)


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_manifest_that_lacks_what_a_reproduction_needs_is_no_manifest(answers: dict[str, Answer], name: str) -> None:
    assert (answers[name].status, UNUSABLE[name][1] in answers[name].errors) == (2, True)


def test_a_config_without_a_data_path_is_named(answers: dict[str, Answer]) -> None:
    answer = answers["a config without data"]
    assert answer.status == 2
    assert "its config.yaml is not the config of a run: the config does not say where the data is" in answer.errors


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_run_is_named(answers: dict[str, Answer], name: str) -> None:
    assert (answers[name].status, UNKNOWN[name][1] in answers[name].errors) == (2, True)


def test_a_refused_reproduction_records_nothing(workbench: TinyWorkbench, answers: dict[str, Answer]) -> None:
    reproductions = {run.id for run in workbench.every_run() if "reproduces" in run.tags}
    assert {answers[name].report["reproduction"] for name in ("forced", "another Python, forced", "results")} == {
        *reproductions
    }


def test_an_altered_run_is_reproduced_by_force_and_the_verdict_says_so(
    workbench: TinyWorkbench, answers: dict[str, Answer]
) -> None:
    assert (answers["forced"].status, answers["forced"].report["verdict"]) == (0, "identical")
    assert "tags are the manifest's: git_commit" in answers["forced"].report["forced"][0]
    assert workbench.by_id(answers["forced"].report["run"]).tags["reproduced_verdict"] == "identical (forced)"


def test_results_that_were_altered_are_named_with_metric_step_and_file(
    workbench: TinyWorkbench, answers: dict[str, Answer]
) -> None:
    answer = answers["results"]
    assert answer.status == 1
    assert answer.differing == {("file", "learned.txt"), ("metric", "loss"), ("metric", "infinite")}
    found = {finding["name"]: finding for finding in answer.report["runs"][0]["findings"]}
    assert (found["loss"]["step"], found["loss"]["a"]) == (1, 9)
    assert answer.report["first_difference"] == found["infinite"]
    note = workbench.by_id(answer.report["run"]).tags["reproduced_note"]
    assert note.startswith("metric infinite at step 0 is in the ")


def test_another_python_is_refused_and_by_force_an_input_difference(
    workbench: TinyWorkbench, answers: dict[str, Answer]
) -> None:
    message = answers["another Python"].errors
    assert f"interpreter: the run was made with CPython {ANOTHER_PYTHON}, which is not on this machine" in message
    forced = answers["another Python, forced"]
    assert (forced.status, forced.report["verdict"]) == (0, "identical")
    assert ("python", ANOTHER_PYTHON) in [(each["name"], each["a"]) for each in forced.report["input_differences"]]
    assert workbench.by_id(forced.report["run"]).tags["reproduced_verdict"] == "identical (forced)"


def test_decisions_rely_on_a_new_comparison_and_not_on_tags(workbench: TinyWorkbench, clean: RecordedRun) -> None:
    def compared(run_id: str) -> tuple[str, str]:
        done = workbench.script("compare_with_last.py", run_id)
        return done.stdout.strip(), done.stderr

    run_id = workbench.train("compared again")
    refusal = compared(run_id)[1]
    assert "reproduced_by: the run was not reproduced yet; a second training, which the checklist" in refusal
    assert "To fix it: repro reproduce" in refusal
    workbench.identical(run_id)
    assert compared(run_id)[0] == "identical"
    with closing(sqlite3.connect(workbench.store, isolation_level=None)) as database:
        database.execute("UPDATE metrics SET value = 9 WHERE key = 'loss' AND run_uuid = ?", (run_id,))
        assert workbench.by_id(run_id).tags["reproduced_verdict"] == "identical"
        assert compared(run_id)[0].startswith("different metric loss")
        database.execute(SET_TAG, (run_id, "reproduced_by", run_id))
    assert "which does not reproduce this run" in compared(run_id)[1]


def test_a_run_that_only_claims_to_be_a_reproduction_fails(workbench: TinyWorkbench, clean: RecordedRun) -> None:
    """The tag `reproduces` lets a config be in no commit. So a run with the tag must match the run that it names."""
    workbench.write("configs/mine.yaml", "extends: tiny.yaml\nrate: 0.9\n")
    options = ["python", "scripts/tiny.py", "--config", "configs/mine.yaml"]
    try:
        assert "policy says `uncommitted_config: refuse`" in workbench.run(*options).stderr
        context = json.dumps({"reproduces": clean.id})
        done = workbench.run(*options, env={"MLFLOW_RUN_CONTEXT": context, "COLUMNS": "300"})
    finally:
        (workbench.path / "configs" / "mine.yaml").unlink()
    assert done.returncode == 1
    assert "config_digest: blake3:" in done.stdout


def test_a_patch_that_does_not_apply_is_named(workbench: TinyWorkbench) -> None:
    workbench.write(NOTES, 'NOTE = "patched"\n')
    try:
        run = workbench.by_id(workbench.train("patched"))
    finally:
        workbench.git("checkout", "--quiet", ".")
    replace(run.evidence / "uncommitted.patch", '-NOTE = "first"', '-NOTE = "worst"')
    assert "patch digest: recorded blake3:" in workbench.refused(run.id)
    assert "uncommitted.patch: the run's patch does not apply to its commit" in workbench.refused(run.id, "--force")
    assert not (workbench.path / ".git" / "worktrees").exists()


def test_a_file_that_the_code_needs_and_nothing_records_is_named_by_the_code(
    workbench: TinyWorkbench, tmp_path: Path
) -> None:
    hiding = workbench.clone(remote_of(workbench, tmp_path), tmp_path / "hiding")
    hiding.edit("scripts/tiny.py", "import mlflow\n", "import mlflow\nopen(__file__ + '.hidden').close()\n")
    hiding.edit(".gitignore", ".cache/\n", ".cache/\n*.hidden\n")
    hiding.write("scripts/tiny.py.hidden", "")
    hiding.commit()
    message = hiding.refused(hiding.train("hiding"))
    assert "No such file or directory" in message
    assert "tiny.py ended with status 1 before it recorded a run" in message
