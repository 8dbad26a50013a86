"""A run has many threads and processes: what they log is in the run, what they begin belongs to it, and none ends it.

The ways to log are in tests/scripts/parallel.py; a run has the name of its way.
"""

import json
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from workbench import RecordedRun, Workbench

# {way: the metrics that its run must have}
LOGGED = {
    "a_thread_logs": {"point 0", "point 1", "point 2"},
    "a_pool_of_threads_logs": {"point 0", "point 1", "point 2", "point 3"},
    "threads_inside_a_child_log": {"point 99"},
    "joblib_threads_log": {"point 0", "point 1", "point 2"},
    "a_thread_joins_by_id": {"joined 1", "after it"},
    "two_runs_in_two_threads": {"own"},
    "forked_processes": {"point 0", "point 1", "after them"},
    "spawned_processes": {"point 0", "point 1", "after them"},
    "processes_of_a_fork_server": {"point 0", "point 1", "after them"},
    "joblib_processes_log": {"point 0", "point 1"},
    "a_step_in_a_subprocess_joins": {"step ends well", "step ends badly", "after it"},
    "a_forked_child_leaves": {"status 0", "status 256", "status 15"},
    "a_forked_child_falls_through": {"after it"},
    "tasks_log": {"point 0", "point 1", "point 2", "point 3"},
    "a_task_leaves_the_block_of_another": {"point 1"},
    "children_of_a_plain_run": {"point 2"},
}
# {way: how many runs belong to its run}
CHILDREN = {
    "threads_begin_children": 3,
    "forked_processes": 3,
    "spawned_processes": 3,
    "processes_of_a_fork_server": 3,
    "joblib_processes_log": 2,
    "a_pool_older_than_its_runs": 2,
    "children_of_a_plain_run": 3,
    "a_bare_client_begins_a_child": 1,
    "a_task_trains_inside_another": 1,
}
IN_THE_DOCS = {
    *("a thread", "another thread", "joblib thread 0", "joblib thread 1", "a pool"),
    *("fork first", "fork second", "spawn first", "spawn second", "forkserver first", "forkserver second"),
    *("joblib process 0", "joblib process 1", "joblib fork 0", "joblib fork 1"),
    *("a task", "another task", "thread of a task"),
}
REFUSED = {
    "two_tasks_train": "is open in another asyncio task of this thread",
    "a_thread_beside_two_runs": "a thread logged something while several runs were open",
}
OWN = {"two_runs_in_two_threads": {"the other of two"}, "two_tasks_train": set()}


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    workbench = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("parallel") / project.name)))
    workbench.add("parallel.py")
    workbench.commit()
    return workbench


@pytest.fixture(scope="module")
def played(workbench: Workbench) -> CompletedProcess[str]:
    ways = list(dict.fromkeys([*LOGGED, *CHILDREN, *REFUSED]))
    done = workbench.run("python", "scripts/parallel.py", *ways, fresh=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def raised(played: CompletedProcess[str]) -> dict[str, str]:
    return json.loads(played.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def runs(workbench: Workbench, played: CompletedProcess[str]) -> list[RecordedRun]:
    return workbench.every_run()


def of_way(runs: list[RecordedRun], way: str) -> list[RecordedRun]:
    """Return the runs of *way*; the ways that record several number them."""
    found = [run for run in runs if run.name == way or run.name in (f"{way} 1", f"{way} 2")]
    assert found, f"{way} recorded nothing"
    return found


@pytest.mark.parametrize("way", LOGGED)
def test_what_a_thread_or_process_logs_is_in_the_run(runs, raised, way: str) -> None:
    assert way not in raised
    for run in of_way(runs, way):
        assert run.status == "FINISHED", run.tags.get("failure")
        assert run.metrics.keys() == LOGGED[way]


@pytest.mark.parametrize("way", CHILDREN)
def test_a_run_begun_by_a_thread_or_process_belongs_to_the_run_and_finishes(runs, raised, way: str) -> None:
    assert way not in raised
    for run in of_way(runs, way):
        assert run.status == "FINISHED", run.tags.get("failure")
        children = [each for each in runs if each.tags.get("mlflow.parentRunId") == run.id]
        assert len(children) == CHILDREN[way]
        for child in children:
            assert child.status == "FINISHED", child.tags.get("failure")
            for tag in ("config_digest", "manifest_digest", "data_version", "git_commit", "author", "mlflow.user"):
                assert child.tags[tag] == run.tags[tag]


@pytest.mark.parametrize("way", REFUSED)
def test_what_cannot_be_placed_is_refused_and_says_why(runs, raised, way: str) -> None:
    assert REFUSED[way] in raised[way]


def test_a_run_that_lacks_what_a_thread_logged_is_not_finished(runs: list[RecordedRun]) -> None:
    assert {run.status for run in runs if run.name in ("a_thread_beside_two_runs", "open beside it")} == {"FAILED"}


def test_a_thread_logs_into_the_child_run_that_is_active_in_its_block(runs: list[RecordedRun], raised) -> None:
    folds = {run.name: (run.status, run.metrics.keys()) for run in runs if run.name.startswith("fold ")}
    assert folds == {
        "fold 0": ("FINISHED", {"point 0", "point 10"}),
        "fold 1": ("FINISHED", {"point 1", "point 11"}),
    }


def test_no_run_is_begun_beside_and_none_stays_open(runs: list[RecordedRun], played: CompletedProcess[str]) -> None:
    assert {run.status for run in runs} == {"FINISHED", "FAILED"}
    known = {*LOGGED, *CHILDREN, *REFUSED, "the other of two", "open beside it", "after the tasks"}
    beside = [run.name for run in runs if "mlflow.parentRunId" not in run.tags]
    assert {name.removesuffix(" 1").removesuffix(" 2") for name in beside} == known


def test_runs_in_two_threads_are_two_runs(runs: list[RecordedRun]) -> None:
    for name in ("two_runs_in_two_threads", "the other of two"):
        (run,) = of_way(runs, name)
        assert run.status == "FINISHED"
        assert "mlflow.parentRunId" not in run.tags


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_no_traceback_of_the_machinery_is_shown(played: CompletedProcess[str]) -> None:
    assert "was created in a different Context" not in played.stderr
    assert "ended FAILED: sys.exit" not in played.stderr


def test_a_refusal_says_how_to_name_the_run(played: CompletedProcess[str]) -> None:
    assert "a thread beside: run_id: it is not known into which run this is logged: " in played.stdout
    assert "To fix it: name the run: mlflow.log_metric(..., run_id=run.info.run_id)" in played.stdout
    assert "only the `tracked_run` that began it ends it" in played.stdout


def test_the_page_of_the_docs_does_what_it_says(workbench: Workbench) -> None:
    page = (workbench.path / "docs" / "threads-and-processes.md").read_text("utf-8")
    workbench.write("scripts/shown.py", "\n\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)))
    done = workbench.run("python", "scripts/shown.py", fresh=True)
    assert done.returncode == 0, done.stderr
    run = workbench.runs()["threads and processes"]
    assert run.status == "FINISHED"
    assert run.metrics.keys() == IN_THE_DOCS
    children = [each for each in workbench.every_run() if each.tags.get("mlflow.parentRunId") == run.id]
    assert {child.name for child in children} == {
        *("child of a thread", "child of a process fork", "child of a process spawn"),
        "child of a process forkserver",
    }
    assert {child.status for child in children} == {"FINISHED"}


def test_a_run_inside_another_is_in_the_same_experiment(workbench: Workbench, played: CompletedProcess[str]) -> None:
    query = """SELECT inside.name FROM tags JOIN runs AS inside ON inside.run_uuid = tags.run_uuid
        JOIN runs AS around ON around.run_uuid = tags.value
        WHERE tags.key = 'mlflow.parentRunId' AND inside.experiment_id != around.experiment_id"""
    with closing(sqlite3.connect(workbench.store)) as database:
        assert database.execute(query).fetchall() == []
