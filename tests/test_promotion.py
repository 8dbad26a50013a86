"""Promotion: an alias that others rely on points only to the model of a reproduced run, whoever moves the alias."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from workbench import Workbench, store_at


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    made = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("promotion") / project.name)))
    made.edit("configs/experiment.yaml", "n_estimators: 200", "n_estimators: 5")
    made.commit()
    return made


@pytest.fixture(scope="module")
def runs(workbench: Workbench) -> dict[str, str]:
    """The ids of three runs: one that was reproduced, one that was not, and one from another seed."""
    ids = {}
    for name, options in {"reproduced": (), "plain": (), "other": ("--set", "seed=7")}.items():
        env = {}
        if name == "other":  # it claims from the start to reproduce a run, and does not
            env["MLFLOW_RUN_CONTEXT"] = json.dumps({"reproduces": ids["plain"]})
        done = workbench.run("repro", "train", "configs/experiment.yaml", "--json", *options, env=env)
        assert done.returncode == (1 if name == "other" else 0), done.stderr
        ids[name] = json.loads(done.stdout)["run_id"]
    done = workbench.run("repro", "reproduce", ids["reproduced"], "--json", timeout=600)
    assert json.loads(done.stdout)["verdict"] == "identical", done.stderr
    return ids


@pytest.fixture(scope="module")
def by_hand(workbench: Workbench, runs: dict[str, str]) -> dict[str, str | None]:
    """What MLflow answered to each attempt to promote without `repro`: the error, None where it accepted."""
    done = workbench.script("promote_by_hand.py", *runs.values())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def promote(
    workbench: Workbench, run_id: str, *options: str, env: dict[str, str] | None = None
) -> CompletedProcess[str]:
    command = ["repro", "promote", run_id, "--model", "penguins", "--alias", "champion", *options]
    return workbench.run(*command, env=env)


@contextmanager
def changed(workbench: Workbench, run_id: str, tag: str, value: str) -> Iterator[None]:
    """Let a tag of a run have another value in the database, until the block ends."""
    change = "UPDATE tags SET value = ? WHERE key = ? AND run_uuid = ?"
    before = next(run.tags[tag] for run in workbench.every_run() if run.id == run_id)
    with closing(sqlite3.connect(workbench.store, isolation_level=None)) as database:
        database.execute(change, (value, tag, run_id))
    try:
        yield
    finally:
        with closing(sqlite3.connect(workbench.store, isolation_level=None)) as database:
            database.execute(change, (before, tag, run_id))


def test_a_run_that_nobody_reproduced_is_not_promoted(workbench: Workbench, runs: dict[str, str]) -> None:
    done = promote(workbench, runs["plain"])
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert f"To fix it: repro reproduce {runs['plain']}" in done.stderr
    assert "a second training, which the checklist accepts, is not enough here" in done.stderr
    assert ("penguins",) not in registered(workbench)[0]


def test_a_reproduced_run_is_promoted_once(workbench: Workbench, runs: dict[str, str]) -> None:
    for _ in range(2):
        done = promote(workbench, runs["reproduced"][:12], "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {
            "model": "penguins",
            "alias": "champion",
            "version": "1",
            "run_id": runs["reproduced"],
            "verdict": "identical",
        }


def test_an_unknown_run_cannot_be_judged(workbench: Workbench, runs: dict[str, str]) -> None:
    assert promote(workbench, "f" * 32).returncode == 2


@pytest.mark.parametrize(
    ("attempt", "reason"),
    {
        "not reproduced": "nobody has ",
        "in another case": "'Champion' cannot point to version",
        "in a wide letter": "'\N{FULLWIDTH LATIN SMALL LETTER C}hampion' cannot point to version",
        "somebody else's model": "it is not the model that run",
        "by itself": "does not reproduce its run",
        "by another's": "does not reproduce its run",
        "by one with other metrics": "the metric cv_accuracy_mean is",
        "by force": "the verdict on its run",
        "by one that does not exist": f"run {'f' * 32}, which its run",
    }.items(),
)
def test_the_gate_lets_a_protected_alias_point_to_nothing_else(by_hand, attempt: str, reason: str) -> None:
    assert "reproducibility gate: " in by_hand[attempt]
    assert reason in by_hand[attempt]
    assert "`repro reproduce" in by_hand[attempt]


def test_a_version_of_a_run_that_does_not_exist_is_refused_by_name(by_hand) -> None:
    assert f"its run {'0' * 32} " in by_hand["of a run that does not exist"]


@pytest.mark.parametrize("attempt", ["delete the version", "delete the model"])
def test_what_a_protected_alias_points_to_is_not_deleted(by_hand, attempt: str) -> None:
    assert "reproducibility gate: 'champion' points to version" in by_hand[attempt]
    assert "To fix it: let the alias point to another version" in by_hand[attempt]


@pytest.mark.parametrize("attempt", ["another alias", "reproduced", "delete another version"])
def test_the_gate_leaves_other_aliases_and_reproduced_models_alone(by_hand, attempt: str) -> None:
    assert by_hand[attempt] is None


def test_an_alias_whose_run_was_altered_since_is_named_by_the_audit(
    workbench: Workbench, runs: dict[str, str], by_hand
) -> None:
    assert promote(workbench, runs["reproduced"]).returncode == 0
    before = json.loads(workbench.run("repro", "audit", "--json").stdout)
    assert {(alias["model"], alias["alias"]) for alias in before["aliases"]} == {
        ("by hand", "champion"),
        ("penguins", "champion"),
    }
    assert not any(alias["problems"] for alias in before["aliases"])
    with changed(workbench, runs["reproduced"], "git_branch", "forged"):
        audited = workbench.run("repro", "audit", "--json")
        promoted = promote(workbench, runs["reproduced"])
    assert audited.returncode == 1
    problems = [alias["problems"] for alias in json.loads(audited.stdout)["aliases"]]
    assert len(problems) == 2
    assert all("git_branch: 'forged' instead of 'main'" in found[0] for found in problems)
    assert promoted.returncode == 1
    assert "git_branch: 'forged' instead of 'main'" in promoted.stderr


def test_another_registry_is_named(workbench: Workbench, runs: dict[str, str]) -> None:
    own = {"MLFLOW_REGISTRY_URI": "sqlite:///mlflow.db"}
    assert promote(workbench, runs["plain"], env=own).returncode == 1  # for another reason
    done = promote(workbench, runs["reproduced"], env={"MLFLOW_REGISTRY_URI": "sqlite:///other.db"})
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert (
        "MLFLOW_REGISTRY_URI: it names the registry sqlite:///other.db, and the runs are in sqlite:///" in done.stderr
    )
    assert "To fix it: unset it" in done.stderr
    assert not (workbench.path / "other.db").exists()


def registered(workbench: Workbench) -> tuple[list, list]:
    """The registered models and their versions."""
    with closing(sqlite3.connect(workbench.store)) as database:
        models = database.execute("SELECT name FROM registered_models").fetchall()
        versions = "SELECT name, version FROM model_versions WHERE current_stage != 'Deleted_Internal'"
        return models, database.execute(versions).fetchall()


@pytest.mark.parametrize("model", ["penguins", "whales"])
def test_nothing_is_registered_where_the_gate_refuses_the_alias(
    workbench: Workbench, runs: dict[str, str], by_hand, model: str
) -> None:
    before = registered(workbench)
    # The gate has a stricter policy than whoever promotes.
    stricter = workbench.write("stricter.yaml", (workbench.path / "configs/base.yaml").read_text("utf-8"))
    workbench.edit("stricter.yaml", "required_tags:\n", "required_tags:\n    - ticket\n")
    env = {"REPRODUCIBILITY_POLICY": str(stricter)}
    try:
        done = workbench.run("repro", "promote", runs["reproduced"], "--model", model, "--alias", "champion", env=env)
    finally:
        stricter.unlink()
    assert done.returncode == 1, done.stderr
    assert "it has no ticket" in done.stderr
    assert registered(workbench) == before


def test_what_the_gate_would_refuse_is_found_before_anything_is_registered(
    workbench: Workbench, runs: dict[str, str], by_hand
) -> None:
    before = registered(workbench)
    with changed(workbench, runs["reproduced"], "reproduced_verdict", "different"):
        done = promote(workbench, runs["reproduced"])
    assert done.returncode == 1
    assert f"the verdict on its run {runs['reproduced']} is 'different'" in done.stderr
    assert f"To fix it: repro reproduce {runs['reproduced']}" in done.stderr
    assert registered(workbench) == before


@pytest.mark.parametrize("loss", ["record", "files"])
def test_a_model_that_is_gone_is_named(workbench: Workbench, runs: dict[str, str], by_hand, loss: str) -> None:
    assert promote(workbench, runs["reproduced"]).returncode == 0
    with closing(sqlite3.connect(workbench.store)) as database:
        query = "SELECT model_id, artifact_location FROM logged_models WHERE source_run_id = ?"
        ((model, place),) = database.execute(query, (runs["reproduced"],)).fetchall()
    files = Path(place.removeprefix("file://"))
    stage = "UPDATE logged_models SET lifecycle_stage = ? WHERE model_id = ?"
    with closing(sqlite3.connect(workbench.store)) as database, database:
        if loss == "record":
            database.execute(stage, ("deleted", model))
        else:
            files.rename(files.with_name("elsewhere"))
    try:
        promoted = promote(workbench, runs["reproduced"])
        audited = workbench.run("repro", "audit", "--json")
        compared = workbench.run("repro", "diff", runs["reproduced"], runs["plain"])
    finally:
        with closing(sqlite3.connect(workbench.store)) as database, database:
            database.execute(stage, ("active", model))
        if loss == "files":
            files.with_name("elsewhere").rename(files)
    assert promoted.returncode in (1, 2)
    assert "Traceback" not in promoted.stderr + audited.stderr + compared.stderr
    assert "cannot be used" not in promoted.stderr + audited.stderr + compared.stderr
    problems = [alias["problems"] for alias in json.loads(audited.stdout)["aliases"]]
    assert len(problems) == 2
    for message in (promoted.stderr, *(found[0] for found in problems)):
        assert f"run {runs['reproduced']}" in message
        assert "model" in message or "cannot be read" in message


@pytest.fixture(scope="module")
def deletions(workbench: Workbench, runs: dict[str, str], by_hand) -> dict[str, str | None]:
    """What MLflow answered to each attempt to delete a run: the error, None where it accepted.

    The champion's run and its reproduction are given a run around them and a run inside them.
    """
    assert promote(workbench, runs["reproduced"]).returncode == 0
    tags = {run.id: run.tags for run in workbench.every_run()}
    reproduction = tags[runs["reproduced"]]["reproduced_by"]
    nested = {runs["reproduced"]: runs["plain"], runs["other"]: reproduction}
    with closing(sqlite3.connect(workbench.store)) as database, database:
        for inside, around in nested.items():
            insert = "INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.parentRunId', ?, ?)"
            database.execute(insert, (around, inside))
    named = {"the run": runs["reproduced"], "its reproduction": reproduction}
    named |= {"the run around it": runs["plain"], "a run inside its reproduction": runs["other"]}
    try:
        done = workbench.script("delete_by_hand.py", json.dumps(named))
    finally:
        with closing(sqlite3.connect(workbench.store)) as database, database:
            database.execute("DELETE FROM tags WHERE key = 'mlflow.parentRunId'")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "what", ["the run", "its reproduction", "the run around it", "a run inside its reproduction", "the experiment"]
)
def test_what_a_protected_alias_rests_on_is_not_deleted(deletions, workbench: Workbench, what: str) -> None:
    assert "reproducibility gate: " in deletions[what]
    assert "cannot be deleted, because the alias 'champion' of '" in deletions[what]
    assert "To fix it: let the alias point to another version, or delete the alias first" in deletions[what]


@pytest.mark.parametrize(
    "what", ["another experiment", "the experiment without the alias", "the run without the alias"]
)
def test_what_no_protected_alias_rests_on_can_be_deleted(deletions, what: str) -> None:
    assert deletions[what] is None


def test_no_alias_can_point_to_the_model_of_a_deleted_run(deletions) -> None:
    assert "FINISHED, deleted" in deletions["the alias penguins to a deleted run"]


def test_nothing_is_left_to_collect_after_a_refused_deletion(deletions, workbench: Workbench) -> None:
    before = workbench.every_run()
    done = workbench.run(
        "mlflow", "gc", "--backend-store-uri", f"sqlite:///{workbench.store}", env=store_at(workbench.store)
    )
    assert done.returncode == 0, done.stderr
    assert [run.id for run in workbench.every_run()] == [run.id for run in before]
    assert json.loads(workbench.run("repro", "audit", "--json").stdout)["aliases"]
