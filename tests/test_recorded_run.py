"""What a person may call a run: its id, the beginning of one, `last` and `last~1`, wherever a run is asked for."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from workbench import Workbench

# Runs of two people whose names try to end the quotes of a search; one has a run inside, one another experiment.
RECORD = """
import os
from reproducibility import tracked_run
values = {"experiment_name": "one", "seed": 1, "data": {"path": "data/penguins.csv"}}
for who, names in (("Ada O'Brien", ["oldest", "older"]), ('Bo "the%" \\\\ Li', ["bo's"]), ("Ada O'Brien ", ["newest"])):
    os.environ["AUTHOR"] = who
    for name in names:
        with tracked_run(values | {"experiment_name": "two" if name == "newest" else "one"}, run_name=name):
            if name == "older":
                with tracked_run(values, run_name="inside"): pass
os.environ["AUTHOR"] = "Ada O'Brien"
os.environ["MLFLOW_RUN_CONTEXT"] = '{"reproduces": "another"}'
with tracked_run(values, run_name="repetition"): pass
"""
ASK = """
import json, os, sys
from reproducibility.tracking.recorded import find_run
from reproducibility.tracking.store import connect
from reproducibility.errors import Refused
client = connect()
said = {}
for name, (author, reference) in json.loads(sys.argv[1]).items():
    os.environ["AUTHOR"] = author
    try:
        said[name] = find(client, reference).info.run_id
    except Refused as refused:
        said[name] = refused.violations[0].problem
print(json.dumps(said))
"""
ADA, BO = "Ada O'Brien", 'Bo "the%" \\ Li'
# Begin alike, and come before and after what is there by no accident of a random id.
TWINS = ["abcd" + "0" * 28, "abcd" + "f" * 28]


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    path = Path(shutil.copytree(project, tmp_path_factory.mktemp("references") / project.name))
    workbench = Workbench(run_in, path)
    workbench.write("scripts/record.py", RECORD)
    done = workbench.run("python", "scripts/record.py")
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(workbench.store)) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(runs)")]
        copied = ", ".join("?" if column in ("run_uuid", "name") else column for column in columns)
        listed = ", ".join(columns)
        for twin in TWINS:
            query = f"INSERT INTO runs ({listed}) SELECT {copied} FROM runs WHERE name = 'oldest'"  # noqa: S608
            database.execute(query, (twin, twin))
        database.commit()
    return workbench


@pytest.fixture(scope="module")
def asked(workbench: Workbench) -> dict[str, str]:
    """What each reference found: an id, or why there is none."""
    ids = {name: run.id for name, run in workbench.runs().items()}
    references = {
        **{f"{name} by its id": (ADA, run_id) for name, run_id in ids.items()},
        **{f"{name} by twelve": (ADA, run_id[:12]) for name, run_id in ids.items() if run_id not in TWINS},
        **{f"Ada's {reference}": (ADA, reference) for reference in ("last", "last~0", "last~1", "last~2", "last~3")},
        **{f"Bo's {reference}": (BO, reference) for reference in ("last", "last~1")},
        "nobody's last": ("Nobody", "last"),
        "the twins": (ADA, "abcd"),
        "one twin": (ADA, "abcdf"),
        "too short": (ADA, "abc"),
        "no such beginning": (ADA, "abcde"),
        "a pattern": (ADA, "%"),
        "a quote": (ADA, "abcd' OR '1' = '1"),
        "an option": (ADA, "last~-1"),
    }
    done = workbench.python(ASK, json.dumps(references))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_an_id_and_its_unique_beginning_are_the_run(workbench: Workbench, asked: dict[str, str]) -> None:
    for name, run in workbench.runs().items():
        assert asked[f"{name} by its id"] == run.id
        if run.id not in TWINS:
            assert asked[f"{name} by twelve"] == run.id
    assert asked["one twin"] == TWINS[1]


def test_last_is_the_newest_run_of_whoever_asks_in_any_experiment(workbench: Workbench, asked: dict) -> None:
    runs = workbench.runs()
    assert asked["Ada's last"] == asked["Ada's last~0"] == runs["newest"].id
    assert asked["Ada's last~1"] == runs["older"].id
    assert asked["Ada's last~2"] == runs["oldest"].id
    assert asked["Bo's last"] != asked["Ada's last"]
    assert "repetition" in runs


def test_a_beginning_of_several_lists_them(asked: dict[str, str]) -> None:
    assert all(twin in asked["the twins"] for twin in TWINS)


@pytest.mark.parametrize(
    "name", ["too short", "no such beginning", "a pattern", "a quote", "an option", "nobody's last", "Ada's last~3"]
)
def test_what_is_no_run_is_said_so(asked: dict[str, str], name: str) -> None:
    assert "has no run " in asked[name] or "has 0 runs of Nobody" in asked[name] or "has 3 runs of Ada" in asked[name]


def test_the_commands_take_every_name_of_a_run(workbench: Workbench) -> None:
    runs = workbench.runs()
    validated = workbench.run("repro", "validate", "last~1", "--json", env={"AUTHOR": ADA})
    assert json.loads(validated.stdout)["run_id"] == runs["older"].id, validated.stderr
    compared = workbench.run("repro", "diff", runs["oldest"].id[:12], "last", "--json", env={"AUTHOR": ADA})
    answer = json.loads(compared.stdout)
    assert (answer["a"]["run_id"], answer["b"]["run_id"]) == (runs["oldest"].id, runs["newest"].id)
    refused = workbench.run("repro", "diff", "last", "abcd", env={"AUTHOR": ADA})
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1
    assert TWINS[0] in refused.stderr
