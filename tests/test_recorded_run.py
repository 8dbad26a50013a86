"""References to a run: its id, the beginning of an id, `last` and `last~1`; every command accepts each of them."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from workbench import Workbench, copy_run

ADA, BO = "Ada O'Brien", 'Bo "the%" \\ Li'
# Two ids with the same beginning.
ALIKE = ["abcd" + "0" * 28, "abcd" + "f" * 28]
CROWD = 1200  # runs whose ids begin with eeee; more than MLflow gives in one answer


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    """A project with runs of two people, and copies of a run, without tags, whose ids have the same beginnings."""
    workbench = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("references") / project.name)))
    workbench.add("record_references.py")
    done = workbench.run("python", "scripts/record_references.py")
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(workbench.store)) as database:
        for run_id in ALIKE:
            copy_run(database, workbench.runs()["oldest"], run_id, run_id, tables=["runs"])
        database.execute("CREATE TEMPORARY TABLE copies AS SELECT * FROM runs WHERE run_uuid = ?", ALIKE[:1])
        for number in range(CROWD):
            database.execute("UPDATE copies SET run_uuid = ?, name = 'one of many'", [f"eeee{number:08x}{0:020x}"])
            database.execute("INSERT INTO runs SELECT * FROM copies")
        database.commit()
    return workbench


@pytest.fixture(scope="module")
def found(workbench: Workbench) -> dict[str, str]:
    """What each reference means: the id of a run, or the problem."""
    ids = {name: run.id for name, run in workbench.runs().items()}
    references = {
        **{f"{name} by its id": (ADA, run_id) for name, run_id in ids.items()},
        **{f"{name} by twelve": (ADA, run_id[:12]) for name, run_id in ids.items() if run_id not in ALIKE},
        **{f"Ada's {reference}": (ADA, reference) for reference in ("last", "last~0", "last~1", "last~2", "last~3")},
        **{f"Bo's {reference}": (BO, reference) for reference in ("last", "last~1")},
        "nobody's last": ("Nobody", "last"),
        "two alike": (ADA, "abcd"),
        "a crowd": (ADA, "eeee"),
        "one of two alike": (ADA, "abcdf"),
        "too short": (ADA, "abc"),
        "no such beginning": (ADA, "abcde"),
        "a pattern": (ADA, "%"),
        "a quote": (ADA, "abcd' OR '1' = '1"),
        "an option": (ADA, "last~-1"),
    }
    done = workbench.script("find_each.py", json.dumps(references))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_an_id_and_its_unique_beginning_are_the_run(workbench: Workbench, found: dict[str, str]) -> None:
    for name, run in workbench.runs().items():
        assert found[f"{name} by its id"] == run.id
        if run.id not in ALIKE:
            assert found[f"{name} by twelve"] == run.id
    assert found["one of two alike"] == ALIKE[1]


def test_last_is_the_newest_run_of_whoever_asks_in_any_experiment(workbench: Workbench, found: dict) -> None:
    runs = workbench.runs()
    assert found["Ada's last"] == found["Ada's last~0"] == runs["newest"].id
    assert found["Ada's last~1"] == runs["older"].id
    assert found["Ada's last~2"] == runs["oldest"].id
    assert found["Bo's last"] != found["Ada's last"]
    assert "reproduction" in runs


def test_a_beginning_of_several_lists_them(found: dict[str, str]) -> None:
    assert all(run_id in found["two alike"] for run_id in ALIKE)


def test_every_run_is_found_however_many_there_are(found: dict[str, str]) -> None:
    assert f" and {CROWD - 5} more" in found["a crowd"]


@pytest.mark.parametrize(
    "name", ["too short", "no such beginning", "a pattern", "a quote", "an option", "nobody's last", "Ada's last~3"]
)
def test_a_reference_to_no_run_is_reported(found: dict[str, str], name: str) -> None:
    assert "has no run " in found[name] or "has 0 runs of Nobody" in found[name] or "has 3 runs of Ada" in found[name]


def test_the_commands_take_every_name_of_a_run(workbench: Workbench) -> None:
    runs = workbench.runs()
    commands = {
        "validate": ["validate", "last~1", "--json"],
        "diff": ["diff", runs["oldest"].id[:12], "last", "--json"],
        "two alike": ["diff", "last", "abcd"],
    }
    done = workbench.repro_each(commands, env={"AUTHOR": ADA})
    assert json.loads(done["validate"].stdout)["run_id"] == runs["older"].id, done["validate"].stderr
    answer = json.loads(done["diff"].stdout)
    assert (answer["a"]["run_id"], answer["b"]["run_id"]) == (runs["oldest"].id, runs["newest"].id)
    assert done["two alike"].returncode == 2
    assert len(done["two alike"].stderr.strip().splitlines()) == 1
    assert ALIKE[0] in done["two alike"].stderr
