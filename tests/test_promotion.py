"""Promotion: an alias that others rely on points only to the model of a run that was made again, whoever moves it."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from workbench import Workbench

# What somebody tries with MLflow alone: {name of the attempt: what the gate said, None where it let them}.
BY_HAND = """
import json, sys, mlflow
client = mlflow.MlflowClient()
said = {}
proved, unproved, other = (client.get_run(run_id) for run_id in sys.argv[1:4])
def version(run, of=None):
    model = (of or run).outputs.model_outputs[0].model_id
    return client.create_model_version("by hand", f"models:/{model}", run_id=run.info.run_id).version
def attempt(name, alias, number):
    try: client.set_registered_model_alias("by hand", alias, number); said[name] = None
    except Exception as error: said[name] = str(error)
client.create_registered_model("by hand")
attempt("unproved", "champion", version(unproved))
attempt("in another case", "Champion", version(unproved))
attempt("another alias", "candidate", version(unproved))
attempt("somebody else's model", "champion", version(proved, of=unproved))
client.set_tag(unproved.info.run_id, "reproduced_verdict", "identical")
client.set_tag(unproved.info.run_id, "reproduced_by", unproved.info.run_id)
attempt("by itself", "champion", version(unproved))
client.set_tag(unproved.info.run_id, "reproduced_by", proved.data.tags["reproduced_by"])
attempt("by another's", "champion", version(unproved))
client.set_tag(unproved.info.run_id, "reproduced_by", "f" * 32)
attempt("by one that is not there", "champion", version(unproved))
client.set_tag(unproved.info.run_id, "reproduced_by", other.info.run_id)
attempt("by one with other metrics", "champion", version(unproved))
client.set_tag(unproved.info.run_id, "reproduced_verdict", "identical (forced)")
attempt("by force", "champion", version(unproved))
attempt("proved", "champion", version(proved))
for tag in ("reproduced_verdict", "reproduced_by"): client.delete_tag(unproved.info.run_id, tag)
stray = client.create_model_version("by hand", "models:/" + unproved.outputs.model_outputs[0].model_id, run_id="0" * 32)
attempt("of a run that is not there", "champion", stray.version)
def deletion(name, step):
    try: step(); said[name] = None
    except Exception as error: said[name] = str(error)
number = client.get_model_version_by_alias("by hand", "champion").version
deletion("delete the version", lambda: client.delete_model_version("by hand", number))
deletion("delete the model", lambda: client.delete_registered_model("by hand"))
deletion("delete another version", lambda: client.delete_model_version("by hand", stray.version))
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    return Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("promotion") / project.name)))


@pytest.fixture(scope="module")
def runs(workbench: Workbench) -> dict[str, str]:
    """The ids of three runs: one that was made again, one that was not, and one from another seed."""
    ids = {}
    for name, options in {"proved": (), "unproved": (), "other": ("--set", "seed=7")}.items():
        env = {"PYTHONHASHSEED": "0"}
        if name == "other":  # it says from the start that it repeats one which it does not
            env["MLFLOW_RUN_CONTEXT"] = json.dumps({"reproduces": ids["unproved"]})
        done = workbench.run("repro", "train", "configs/experiment.yaml", "--json", *options, env=env)
        assert done.returncode == (1 if name == "other" else 0), done.stderr
        ids[name] = json.loads(done.stdout)["run_id"]
    done = workbench.run("repro", "reproduce", ids["proved"], "--json", timeout=600)
    assert json.loads(done.stdout)["verdict"] == "identical", done.stderr
    return ids


@pytest.fixture(scope="module")
def by_hand(workbench: Workbench, runs: dict[str, str]) -> dict[str, str | None]:
    done = workbench.python(BY_HAND, *runs.values())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def promote(workbench: Workbench, run_id: str, *options: str) -> CompletedProcess[str]:
    return workbench.run("repro", "promote", run_id, "--model", "penguins", "--alias", "champion", *options)


def test_a_run_that_nobody_made_again_is_not_promoted(workbench: Workbench, runs: dict[str, str]) -> None:
    done = promote(workbench, runs["unproved"])
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert f"To fix it: repro reproduce {runs['unproved']}" in done.stderr
    found = workbench.python(
        "import mlflow; print(len(mlflow.search_registered_models(filter_string=\"name='penguins'\")))"
    )
    assert found.stdout.split()[-1] == "0"


def test_a_run_that_was_made_again_is_promoted_once(workbench: Workbench, runs: dict[str, str]) -> None:
    for _ in range(2):
        done = promote(workbench, runs["proved"][:12], "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {
            "model": "penguins",
            "alias": "champion",
            "version": "1",
            "run_id": runs["proved"],
            "verdict": "identical",
        }


def test_a_run_that_is_not_there_cannot_be_told(workbench: Workbench, runs: dict[str, str]) -> None:
    assert promote(workbench, "f" * 32).returncode == 2


@pytest.mark.parametrize(
    ("attempt", "reason"),
    {
        "unproved": "nobody has reproduced its run",
        "in another case": "'Champion' cannot point to version",
        "somebody else's model": "it is not the model that run",
        "by itself": "does not repeat its run",
        "by another's": "does not repeat its run",
        "by one with other metrics": "the metric cv_accuracy_mean is",
        "by force": "the verdict on its run",
        "by one that is not there": f"run {'f' * 32}, which its run",
    }.items(),
)
def test_the_gate_lets_a_protected_alias_point_to_nothing_else(by_hand, attempt: str, reason: str) -> None:
    assert "reproducibility gate: " in by_hand[attempt]
    assert reason in by_hand[attempt]
    assert "`repro reproduce" in by_hand[attempt]


def test_a_version_of_a_run_that_is_not_there_is_refused_by_name(by_hand) -> None:
    assert f"its run {'0' * 32} does not exist" in by_hand["of a run that is not there"]


@pytest.mark.parametrize("attempt", ["delete the version", "delete the model"])
def test_what_a_protected_alias_points_to_is_not_deleted(by_hand, attempt: str) -> None:
    assert "reproducibility gate: 'champion' points to version" in by_hand[attempt]
    assert "To fix it: let the alias point to another version" in by_hand[attempt]


@pytest.mark.parametrize("attempt", ["another alias", "proved", "delete another version"])
def test_the_gate_leaves_other_aliases_and_proved_models_alone(by_hand, attempt: str) -> None:
    assert by_hand[attempt] is None


def test_an_alias_whose_run_was_altered_since_is_named_by_the_audit(
    workbench: Workbench, runs: dict[str, str], by_hand
) -> None:
    assert promote(workbench, runs["proved"]).returncode == 0
    before = json.loads(workbench.run("repro", "audit", "--json").stdout)
    assert {(alias["model"], alias["alias"]) for alias in before["aliases"]} == {
        ("by hand", "champion"),
        ("penguins", "champion"),
    }
    assert not any(alias["problems"] for alias in before["aliases"])
    with closing(sqlite3.connect(workbench.store)) as database, database:
        change = "UPDATE tags SET value = ? WHERE key = 'git_branch' AND run_uuid = ?"
        database.execute(change, ("forged", runs["proved"]))
    try:
        audited = workbench.run("repro", "audit", "--json")
        again = promote(workbench, runs["proved"])
    finally:
        with closing(sqlite3.connect(workbench.store)) as database, database:
            database.execute(change, ("main", runs["proved"]))
    assert audited.returncode == 1
    problems = [alias["problems"] for alias in json.loads(audited.stdout)["aliases"]]
    assert len(problems) == 2
    assert all("git_branch: 'forged' instead of 'main'" in found[0] for found in problems)
    assert again.returncode == 1
    assert "git_branch: 'forged' instead of 'main'" in again.stderr


def registered(workbench: Workbench) -> tuple[list, list]:
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
        done = workbench.run("repro", "promote", runs["proved"], "--model", model, "--alias", "champion", env=env)
    finally:
        stricter.unlink()
    assert done.returncode == 1, done.stderr
    assert "it has no ticket" in done.stderr
    assert registered(workbench) == before


def test_the_tags_that_the_gate_believes_are_asked_before_anything_is_registered(
    workbench: Workbench, runs: dict[str, str], by_hand
) -> None:
    before = registered(workbench)
    change = "UPDATE tags SET value = ? WHERE key = 'reproduced_verdict' AND run_uuid = ?"
    with closing(sqlite3.connect(workbench.store)) as database, database:
        database.execute(change, ("different", runs["proved"]))
    try:
        done = promote(workbench, runs["proved"])
    finally:
        with closing(sqlite3.connect(workbench.store)) as database, database:
            database.execute(change, ("identical", runs["proved"]))
    assert done.returncode == 1
    assert f"the verdict on its run {runs['proved']} is 'different'" in done.stderr
    assert f"To fix it: make it again: repro reproduce {runs['proved']}" in done.stderr
    assert registered(workbench) == before


@pytest.mark.parametrize("loss", ["record", "files"])
def test_a_model_that_is_gone_is_named(workbench: Workbench, runs: dict[str, str], by_hand, loss: str) -> None:
    assert promote(workbench, runs["proved"]).returncode == 0
    with closing(sqlite3.connect(workbench.store)) as database:
        query = "SELECT model_id, artifact_location FROM logged_models WHERE source_run_id = ?"
        ((model, place),) = database.execute(query, (runs["proved"],)).fetchall()
    files = Path(place.removeprefix("file://"))
    away = "UPDATE logged_models SET lifecycle_stage = ? WHERE model_id = ?"
    with closing(sqlite3.connect(workbench.store)) as database, database:
        if loss == "record":
            database.execute(away, ("deleted", model))
        else:
            files.rename(files.with_name("away"))
    try:
        promoted = promote(workbench, runs["proved"])
        audited = workbench.run("repro", "audit", "--json")
        compared = workbench.run("repro", "diff", runs["proved"], runs["unproved"])
    finally:
        with closing(sqlite3.connect(workbench.store)) as database, database:
            database.execute(away, ("active", model))
        if loss == "files":
            files.with_name("away").rename(files)
    assert promoted.returncode in (1, 2)
    assert "Traceback" not in promoted.stderr + audited.stderr + compared.stderr
    assert "cannot be used" not in promoted.stderr + audited.stderr + compared.stderr
    problems = [alias["problems"] for alias in json.loads(audited.stdout)["aliases"]]
    assert len(problems) == 2
    for said in (promoted.stderr, *(found[0] for found in problems)):
        assert f"run {runs['proved']}" in said
        assert "model" in said or "cannot be read" in said
