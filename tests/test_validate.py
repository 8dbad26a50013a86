"""`repro validate`: a run as it was recorded passes, and each way to alter it afterwards is named."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from workbench import Workbench, copy_run

EVERY_CHECK = {
    *("status", "required tags and params", "evidence", "manifest digest", "tags are the manifest's"),
    *(
        "entry point",
        "params are the manifest's",
        "patch digest",
        "config digest",
        "params are the config's",
        "lock digest",
    ),
}

SET_TAG = "UPDATE tags SET value = ? WHERE key = ? AND run_uuid = ?"
SET_PARAM = "UPDATE params SET value = ? WHERE key = ? AND run_uuid = ?"


class Alteration:
    """What somebody does to a run: statements on the database, or a change of one file of its evidence."""

    def __init__(
        self, *fails: str, sql: tuple[str, ...] = (), file: str = "", edit: tuple[str, str] | None = None
    ) -> None:
        self.fails, self.sql, self.file, self.edit = set(fails), sql, file, edit

    def apply(self, database: sqlite3.Connection, run_id: str, evidence: Path) -> None:
        if self.sql:
            changed = database.execute(self.sql[0], (*self.sql[1:], run_id)).rowcount
            assert changed == 1, self.sql
        if self.file:
            path = evidence / self.file
            if self.edit is None:
                path.unlink()
            else:
                content = path.read_text(encoding="utf-8")
                assert self.edit[0] in content
                path.write_text(content.replace(self.edit[0], self.edit[1], 1), encoding="utf-8")


ALTERED = {
    "nothing": Alteration(),
    "a tag edited": Alteration("tags are the manifest's", sql=(SET_TAG, "f" * 40, "git_commit")),
    "a tag emptied": Alteration("required tags and params", "tags are the manifest's", sql=(SET_TAG, "", "author")),
    "a tag malformed": Alteration(
        "required tags and params", "tags are the manifest's", sql=(SET_TAG, "main", "git_commit")
    ),
    "a tag removed": Alteration(
        "required tags and params",
        "tags are the manifest's",
        sql=("DELETE FROM tags WHERE key = ? AND run_uuid = ?", "image"),
    ),
    "the data version swapped": Alteration(
        "required tags and params", "tags are the manifest's", sql=(SET_TAG, f"blake3:{'0' * 64}", "data_version")
    ),
    "the manifest digest edited": Alteration("manifest digest", sql=(SET_TAG, f"blake3:{'0' * 64}", "manifest_digest")),
    "called clean": Alteration("tags are the manifest's", sql=(SET_TAG, "false", "git_dirty")),
    "a param edited": Alteration("params are the manifest's", "params are the config's", sql=(SET_PARAM, "2", "seed")),
    "a param removed": Alteration(
        "params are the manifest's",
        "params are the config's",
        sql=("DELETE FROM params WHERE key = ? AND run_uuid = ?", "data.path"),
    ),
    "the manifest edited": Alteration(
        "manifest digest", "tags are the manifest's", file="manifest.json", edit=('"git_branch": "', '"git_branch": "x')
    ),
    "the manifest's machine edited": Alteration(
        "manifest digest", file="manifest.json", edit=('"machine": "', '"machine": "x')
    ),
    "the manifest emptied": Alteration("manifest", file="manifest.json", edit=('"tags"', '"tag"')),
    "the manifest broken": Alteration("manifest", file="manifest.json", edit=("{", "[")),
    "the manifest not a number": Alteration("manifest", file="manifest.json", edit=('"seed": 1', '"seed": NaN')),
    "the manifest removed": Alteration("evidence", file="manifest.json"),
    "the config edited": Alteration(
        "config digest", "params are the config's", file="config.yaml", edit=("seed: 1", "seed: 2")
    ),
    "the config broken": Alteration("config", file="config.yaml", edit=("seed: 1", "seed: [")),
    "the config removed": Alteration("evidence", file="config.yaml"),
    "the lock edited": Alteration("lock digest", file="requirements.txt", edit=("==", "==9.")),
    "the lock removed": Alteration("evidence", file="requirements.txt"),
    "the patch edited": Alteration("patch digest", file="uncommitted.patch", edit=("notes", "votes")),
    "the patch removed": Alteration("evidence", "patch digest", file="uncommitted.patch"),
    "still running": Alteration("status", sql=("UPDATE runs SET status = ? WHERE run_uuid = ?", "RUNNING")),
    "reopened": Alteration("status", sql=("UPDATE runs SET status = ? WHERE run_uuid = ?", "SCHEDULED")),
    "deleted": Alteration("status", sql=("UPDATE runs SET lifecycle_stage = ? WHERE run_uuid = ?", "deleted")),
}


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    """A project with a good run and a failed one, and a copy of the good one for each alteration.

    The work tree has changes when the runs are recorded, so that their evidence has a patch.
    """
    workbench = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("validate") / project.name)))
    workbench.write("notes.txt", "notes on the side\n")
    workbench.add("record_two.py")
    done = workbench.run("python", "scripts/record_two.py")
    assert done.returncode == 0, done.stderr
    good = workbench.runs()["good"]
    with closing(sqlite3.connect(workbench.store)) as database:
        for number, (name, alteration) in enumerate(ALTERED.items()):
            run_id = f"{number:032x}"
            evidence = copy_run(database, good, run_id, name)
            alteration.apply(database, run_id, evidence)
        database.commit()
    return workbench


# Runs that are also shown as tables, and references to no run.
TABLES = {"good": "can be reproduced", "a tag edited": "git_commit"}
UNKNOWN = ("e" * 32, "../../etc/passé", "")


@pytest.fixture(scope="module")
def commands(workbench: Workbench) -> dict[str, CompletedProcess[str]]:
    """The result of `repro validate` for each run, as JSON under the run's name, as a table under "table of NAME"."""
    ids = {name: run.id for name, run in workbench.runs().items()}
    arguments = {name: ["validate", run_id, "--json"] for name, run_id in ids.items()}
    arguments |= {f"table of {name}": ["validate", ids[name]] for name in TABLES}
    arguments |= {f"unknown {reference}": ["validate", reference] for reference in UNKNOWN}
    return workbench.repro_each(arguments, env={"COLUMNS": "300"})


@pytest.fixture(scope="module")
def answers(workbench: Workbench, commands: dict[str, CompletedProcess[str]]) -> dict[str, tuple[int, dict]]:
    """What `repro validate --json` reports of each run: {name: (exit status, report)}."""
    return {name: (commands[name].returncode, json.loads(commands[name].stdout)) for name in workbench.runs()}


@pytest.mark.parametrize("name", ALTERED)
def test_exactly_what_was_altered_is_named(answers: dict[str, tuple[int, dict]], name: str) -> None:
    status, answer = answers[name]
    failing = {check["name"] for check in answer["checks"] if not check["holds"]}
    assert failing == ALTERED[name].fails
    assert status == (1 if failing else 0)
    assert answer["holds"] == (not failing)


def test_a_run_that_passes_was_checked_for_everything(answers: dict[str, tuple[int, dict]]) -> None:
    status, answer = answers["good"]
    assert status == 0
    assert {check["name"] for check in answer["checks"]} == EVERY_CHECK
    assert answer["metrics"] == {"accuracy": 0.5, "loss": None}  # JSON has no NaN


def test_a_failed_run_does_not_pass_and_the_reason_is_named(answers: dict[str, tuple[int, dict]]) -> None:
    status, answer = answers["failed"]
    (check,) = [check for check in answer["checks"] if not check["holds"]]
    assert (status, check["detail"]) == (1, "FAILED: ValueError: nothing learned")


@pytest.mark.parametrize(("name", "verdict"), TABLES.items())
def test_the_table_says_what_the_json_says(commands, answers, name: str, verdict: str) -> None:
    table, (status, answer) = commands[f"table of {name}"], answers[name]
    assert table.returncode == status, table.stderr
    assert verdict in table.stdout
    assert [check["name"] for check in answer["checks"] if check["name"] not in table.stdout] == []


@pytest.mark.parametrize("reference", UNKNOWN)
def test_a_run_that_is_not_recorded_cannot_be_validated(commands, reference: str) -> None:
    done = commands[f"unknown {reference}"]
    assert done.returncode == 2
    assert f"has no run {reference[:80]!r}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_unreachable_store_is_named_without_its_password(workbench: Workbench) -> None:
    uri = "http://ada:secret@127.0.0.1:9"
    done = workbench.run("repro", "validate", "0" * 32, env={"MLFLOW_TRACKING_URI": uri})
    assert done.returncode == 2
    assert "http://127.0.0.1:9 cannot be used" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_code_that_is_no_file_of_the_project_is_warned_of_and_does_not_pass(workbench: Workbench) -> None:
    done = workbench.script("record_unnamed_run.py")
    assert "its code is in no commit" in done.stderr
    validated = workbench.run("repro", "validate", done.stdout.split()[-1])
    assert validated.returncode == 1
    assert "started from no file of the project" in validated.stdout
