"""A policy that only records: nothing is refused, each violation is a tag and a warning, and the audit counts weeks."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from workbench import Workbench

TAG = "policy_violations"


class RampWorkbench(Workbench):
    """A project whose policy only records, and what its script ramp.py said."""

    said: CompletedProcess[str]


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> RampWorkbench:
    workbench = RampWorkbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("ramp") / project.name)))
    workbench.edit("configs/base.yaml", "enforce: refuse", "enforce: record")
    workbench.add("ramp.py")
    workbench.commit()
    workbench.said = workbench.run("python", "scripts/ramp.py")
    return workbench


def test_no_run_is_refused_and_each_violation_is_a_tag(workbench: RampWorkbench) -> None:
    assert workbench.said.returncode == 0, workbench.said.stderr
    runs = workbench.runs()
    assert {run.status for run in runs.values()} == {"FINISHED"}
    assert TAG not in runs["good"].tags
    assert TAG not in runs["with arguments"].tags
    assert runs["with arguments"].params["arguments.rate"] == "0.5"
    assert runs["with arguments"].params["data.path"] == "data/penguins.csv"
    without = runs["no seed, no data"].tags[TAG]
    assert "data/gone.csv does not exist" in without
    assert "seed" in without
    assert "it has no data_version, seed" in runs["plain"].tags[TAG] or "it has no seed" in runs["plain"].tags[TAG]
    assert "it has no git_commit, git_branch" in runs["of a client"].tags[TAG]


def test_each_violation_is_a_warning(workbench: RampWorkbench) -> None:
    warning = "Warning: this run breaks the policy, which only records that now (`enforce: record`):\n  - "
    assert workbench.said.stderr.count(warning) == 3  # at the start and the end of one run, and at the end of another
    assert "  - data_version: data/gone.csv does not exist. To fix it: put the data there" in workbench.said.stderr


def test_a_closed_record_and_a_secret_are_refused_as_ever(workbench: RampWorkbench) -> None:
    assert "has ended FINISHED and its record is closed" in workbench.said.stdout
    assert "refused: note: the param looks like a GitHub token" in workbench.said.stdout
    assert "never reached" not in workbench.said.stdout
    assert "secret" not in workbench.runs()


def test_a_run_that_broke_the_policy_does_not_hold(workbench: RampWorkbench) -> None:
    runs = workbench.runs()
    done = workbench.repro_each({name: ["validate", runs[name].id] for name in ("good", "plain", "with arguments")})
    assert {name: each.returncode for name, each in done.items()} == {"good": 0, "plain": 1, "with arguments": 0}


def test_the_audit_shows_the_share_that_complies_week_by_week(workbench: RampWorkbench) -> None:
    runs = workbench.runs()
    with closing(sqlite3.connect(workbench.store)) as database, database:
        # 2 November 2026 is a Monday, and the other day is the Sunday before it.
        for name, start in (("plain", 1793577599000), ("good", 1793577600000), ("of a client", 1793577601000)):
            database.execute("UPDATE runs SET start_time = ? WHERE run_uuid = ?", (start, runs[name].id))
    done = workbench.repro_each({"json": ["audit", "--json"], "table": ["audit"]})
    found = json.loads(done["json"].stdout)
    assert found["weeks"][:2] == [
        {"week": "2026-W44", "finished": 1, "comply": 0},
        {"week": "2026-W45", "finished": 2, "comply": 1},
    ]
    assert (found["weeks"][2]["finished"], found["weeks"][2]["comply"]) == (2, 1)
    table = " ".join(done["table"].stdout.split())
    assert "2026-W45 │ 2 │ 1 │ 50%" in table


def test_the_same_runs_are_refused_when_the_policy_refuses(workbench: RampWorkbench, tmp_path: Path) -> None:
    strict = Workbench(workbench._run_in, Path(copytree(workbench.path, tmp_path / workbench.path.name)))
    strict.store.unlink()
    strict.edit("configs/base.yaml", "enforce: record", "enforce: refuse")
    done = strict.run("python", "scripts/ramp.py")
    assert done.returncode == 2 or "Refused" in done.stderr
    assert "data_version: data/gone.csv does not exist" in done.stderr
    assert [run.name for run in strict.every_run()] == ["good"]
