"""Refusals: a run that could not be made again is refused with every reason at once, before anything is created."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from subprocess import CompletedProcess

import pytest
from workbench import INSIDE, Workbench

NOBODY = dict.fromkeys(("AUTHOR", "GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_REQUESTEDFOR", "CIRCLE_USERNAME"))
EXPERIMENT = ("--config", "configs/experiment.yaml")

# The standard experiment without its training: with TAGS and, instead of a file's, the values of CONFIG.
SCRIPT = f"""
import atexit, json, os, sys
import click
from PACKAGE.config import ExperimentConfig
from reproducibility import experiment_command, tracked_run

atexit.register(lambda: print("mlflow was imported" if "mlflow" in sys.modules else "mlflow was not imported"))

def run_experiment(config):
    with tracked_run(config, tags=json.loads(os.environ.get("TAGS", "{{}}"))) as run:
        print({INSIDE!r})
    return run.info.run_id

@click.command()
def from_values():
    run_experiment(eval(os.environ["CONFIG"]))

if __name__ == "__main__":
    (from_values if "CONFIG" in os.environ else experiment_command(ExperimentConfig, run_experiment))()
"""
VALUES = {"experiment_name": "attempt", "seed": 1, "data": {"path": "data/penguins.csv"}}

Refused = Callable[..., str]


@pytest.fixture
def workbench(run_in: Callable[..., CompletedProcess[str]], fresh_project: Path) -> Workbench:
    """A project whose script, committed, tries to start a run."""
    workbench = Workbench(run_in, fresh_project)
    workbench.write("scripts/attempt.py", SCRIPT)
    workbench.commit()
    return workbench


@pytest.fixture
def refused(workbench: Workbench) -> Refused:
    """`refused(env=…)`: tries to start a run, sees that nothing was created or computed, returns the one message."""

    def refuse(
        *arguments: str, env: dict[str, str | None] | None = None, values: object = None, tags: object = None
    ) -> str:
        env = dict(env or {}) | ({} if values is None else {"CONFIG": repr(values)})
        env |= {} if tags is None else {"TAGS": json.dumps(tags)}
        command = () if values is not None else (EXPERIMENT[0], EXPERIMENT[1], *arguments)
        before = everything_in(workbench.path)
        done = workbench.run("python", "scripts/attempt.py", *command, env=env)
        assert done.returncode == 2, done.stdout + done.stderr
        assert INSIDE not in done.stdout
        assert "Traceback" not in done.stderr
        assert "mlflow was not imported" in done.stdout
        assert everything_in(workbench.path) == before
        assert done.stderr.startswith("Error: ")
        assert "To fix it: " in done.stderr
        return done.stderr

    return refuse


def everything_in(folder: Path) -> set[Path]:
    """Every file of the project, but for git's own, compiled modules and the data version's cache."""
    files = (path.relative_to(folder) for path in folder.rglob("*"))
    return {path for path in files if not {".git", ".cache", "__pycache__"} & set(path.parts)}


def set_policy(workbench: Workbench, before: str, after: str) -> None:
    workbench.edit("configs/base.yaml", before, after)
    workbench.commit()


def test_nothing_speaks_against_a_committed_project_under_the_strictest_policy(workbench: Workbench) -> None:
    set_policy(workbench, "uncommitted_changes: snapshot", "uncommitted_changes: refuse")
    set_policy(workbench, "uncommitted_config: snapshot", "uncommitted_config: refuse")
    done = workbench.run("python", "scripts/attempt.py", *EXPERIMENT, "--set", "seed=7", env={"TAGS": '{"note": "x"}'})
    assert done.returncode == 0, done.stderr
    (run,) = workbench.runs().values()
    assert (run.status, run.params["seed"], run.tags["note"], run.tags["git_dirty"]) == ("FINISHED", "7", "x", "false")


# --- the code


def test_a_project_without_a_repository_is_refused(workbench: Workbench, refused: Refused) -> None:
    rmtree(workbench.path / ".git")
    said = refused(env={"AUTHOR": "Ada"})
    assert "git_commit: " in said
    assert "git init" in said


def test_a_machine_without_git_is_refused(workbench: Workbench, refused: Refused, python: Path) -> None:
    assert "install git" in refused(env={"PATH": str(python.parent), "AUTHOR": "Ada"})


def test_a_repository_without_a_commit_is_refused(workbench: Workbench, refused: Refused) -> None:
    rmtree(workbench.path / ".git")
    workbench.git("init", "--quiet")
    said = refused(env={"AUTHOR": "Ada"})
    assert "has no commit yet" in said
    assert "git commit" in said


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a repository away")
def test_a_repository_of_another_user_is_refused(workbench: Workbench, refused: Refused) -> None:
    for path in (workbench.path, workbench.path / ".git"):
        os.chown(path, 12345, 12345)
    said = refused(env={"AUTHOR": "Ada"})
    assert "dubious ownership" in said
    assert "git config --global --add safe.directory" in said


@pytest.mark.parametrize("change", ["an edit", "a new file"])
def test_changes_are_refused_where_the_policy_says_so(workbench: Workbench, refused: Refused, change: str) -> None:
    set_policy(workbench, "uncommitted_changes: snapshot", "uncommitted_changes: refuse")
    if change == "an edit":
        workbench.edit("pyproject.toml", "[build-system]", "# edited\n[build-system]")
    else:
        workbench.write("notes.txt", "new")
    said = refused()
    assert "uncommitted_changes: the work tree differs from the commit" in said
    assert "commit or stash" in said


def test_a_config_that_differs_from_the_commit_is_refused_where_the_policy_says_so(
    workbench: Workbench, refused: Refused
) -> None:
    set_policy(workbench, "uncommitted_config: snapshot", "uncommitted_config: refuse")
    workbench.edit("configs/experiment.yaml", "max_depth: 5", "max_depth: 6")
    said = refused()
    assert "configs/experiment.yaml differs from the commit" in said
    assert "git add configs/experiment.yaml" in said


def test_a_config_without_a_file_is_refused_where_configs_must_be_committed(
    workbench: Workbench, refused: Refused
) -> None:
    set_policy(workbench, "uncommitted_config: snapshot", "uncommitted_config: refuse")
    assert "the config did not come from a file" in refused(values=VALUES)


# --- the data


def test_missing_data_is_refused(workbench: Workbench, refused: Refused) -> None:
    (workbench.path / "data/penguins.csv").unlink()
    assert "data_version: data/penguins.csv does not exist" in refused()


def test_an_empty_data_file_is_refused(workbench: Workbench, refused: Refused) -> None:
    workbench.write("data/penguins.csv", "")
    assert "data_version: data/penguins.csv holds no data" in refused()


def test_an_empty_data_folder_is_refused(workbench: Workbench, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    assert "no file is in it" in refused(values=VALUES | {"data": {"path": str(tmp_path / "rows")}})


@pytest.mark.parametrize("data", [{}, None, "data/penguins.csv", {"path": None}, {"path": ""}, {"path": 3}])
def test_a_config_that_names_no_data_is_refused(refused: Refused, data: object) -> None:
    assert "data.path: the config does not say where the data is" in refused(values=VALUES | {"data": data})


def test_data_that_changes_while_it_is_read_is_refused(refused: Refused, tmp_path: Path) -> None:
    rows = tmp_path / "rows.bin"
    with rows.open("wb") as file:
        file.truncate(256 * 2**20)
    writing = f"f = open({str(rows)!r}, 'ab', buffering=0)\nprint(f.write(b'x'), flush=True)\nwhile True: f.write(b'x')"
    with subprocess.Popen([sys.executable, "-c", writing], stdout=subprocess.PIPE) as writer:
        try:
            writer.stdout.readline()
            said = refused(values=VALUES | {"data": {"path": str(rows)}})
        finally:
            writer.kill()
    assert "rows.bin changed while it was read" in said


# --- the author, the seed


def test_a_run_of_nobody_is_refused(workbench: Workbench, refused: Refused) -> None:
    for key in ("user.name", "user.email"):
        workbench.git("config", "--unset", key)
    said = refused(env=NOBODY)
    assert "author: nobody is named" in said
    assert "git config user.name" in said


@pytest.mark.parametrize("author", ["", "  "])
def test_an_empty_author_is_refused_although_git_knows_one(refused: Refused, author: str) -> None:
    assert "author: AUTHOR is set but empty" in refused(env={"AUTHOR": author})


def test_a_seed_of_null_is_refused(refused: Refused) -> None:
    assert "seed" in refused("--set", "seed=null")


def test_a_config_file_without_a_seed_is_refused(workbench: Workbench, refused: Refused) -> None:
    workbench.edit("configs/base.yaml", "\nseed: 42", "")
    assert "seed: is missing" in refused()


def test_values_without_a_seed_are_refused(refused: Refused) -> None:
    assert "seed: no seed is set" in refused(values={key: VALUES[key] for key in VALUES if key != "seed"})


@pytest.mark.parametrize("seed", [-1, 2**32, True, "42", 1.5])
def test_a_seed_that_no_library_takes_is_refused(refused: Refused, seed: object) -> None:
    assert f"seed: {seed!r} is not a whole number from 0 to 4294967295" in refused(values=VALUES | {"seed": seed})


# --- the tags and params


@pytest.mark.parametrize("value", ["", "Somebody Else"])
def test_a_gathered_tag_cannot_be_emptied_or_set_by_hand(refused: Refused, value: str) -> None:
    assert f"author: this tag is gathered, it cannot be set to {value!r} by hand" in refused(tags={"author": value})


@pytest.mark.parametrize(("tags", "state"), [({}, "missing"), ({"ticket": ""}, "empty"), ({"ticket": " \n"}, "empty")])
def test_a_tag_that_the_team_requires_is_required(
    workbench: Workbench, refused: Refused, tags: dict[str, str], state: str
) -> None:
    set_policy(workbench, "    - git_commit\n", "    - git_commit\n    - ticket\n")
    assert f"ticket: the required tag is {state}" in refused(tags=tags)


def test_a_param_that_the_team_requires_is_required(workbench: Workbench, refused: Refused) -> None:
    set_policy(workbench, "required_params: [", "required_params: [model.dropout, ")
    assert "model.dropout: the required param is missing" in refused()


def test_a_tag_longer_than_mlflow_keeps_is_refused_not_cut(refused: Refused) -> None:
    assert "note: the tag has 8001 characters, more than the 8000" in refused(tags={"note": "x" * 8001})


def test_a_param_longer_than_mlflow_keeps_is_refused_not_cut(refused: Refused) -> None:
    assert "note: the param has 6001 characters, more than the 6000" in refused(values=VALUES | {"note": "x" * 6001})


@pytest.mark.parametrize("key", ["", "x" * 251, "what?", "line\nbreak", "a//b", "../up", "/top", "end/", "."])
@pytest.mark.parametrize("kind", ["tag", "param"])
def test_a_name_that_mlflow_does_not_keep_is_refused(refused: Refused, kind: str, key: str) -> None:
    said = refused(tags={key: "1"}, values=VALUES) if kind == "tag" else refused(values=VALUES | {key: "1"})
    # A name that is empty or has a dot would be another's in a config, too.
    reason = "it could not be read back" if kind == "param" and (not key or "." in key) else f"the name of this {kind}"
    assert reason in said


def test_a_key_that_the_provenance_needs_for_itself_is_refused(refused: Refused) -> None:
    assert "a config cannot say which version its data has" in refused(values=VALUES | {"data_version": "mine"})


@pytest.mark.parametrize("value", [3, None, ["a"], True])
def test_a_tag_that_is_not_text_is_refused(refused: Refused, value: object) -> None:
    assert f"note: the tag is {value!r}, not text" in refused(tags={"note": value})


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "{1, 2}", "b'x'", "os"])
def test_a_value_that_no_file_can_keep_is_refused(refused: Refused, workbench: Workbench, value: str) -> None:
    workbench.edit("scripts/attempt.py", 'eval(os.environ["CONFIG"])', f'eval(os.environ["CONFIG"]) | {{"x": {value}}}')
    workbench.commit()
    assert "config: it holds a value that cannot be recorded" in refused(values=VALUES)


def test_going_on_with_an_earlier_run_is_refused(refused: Refused) -> None:
    assert "MLFLOW_RUN_ID: it says to go on with run abc" in refused(env={"MLFLOW_RUN_ID": "abc"})


@pytest.mark.parametrize("name", [None, "", " ", 3])
def test_a_run_without_an_experiment_is_refused(refused: Refused, name: object) -> None:
    assert "experiment_name: the config does not name the experiment" in refused(
        values=VALUES | {"experiment_name": name}
    )


# --- the policy


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("uncommitted_changes: snapshot", "uncommitted_changes: ignore", "policy.uncommitted_changes: expected"),
        ("uncommitted_changes: snapshot", "uncomitted_changes: snapshot", "did you mean policy.uncommitted_changes"),
        ("  environment_drift: refuse\n", "", "policy.environment_drift: is missing"),
        ("policy:\n", "policies:\n", "policy.required_tags: is missing"),
        ("required_params: [", "required_params: [[", "configs/base.yaml"),
    ],
)
def test_a_policy_that_cannot_be_read_is_refused(
    workbench: Workbench, refused: Refused, before: str, after: str, expected: str
) -> None:
    workbench.edit("configs/base.yaml", before, after)
    assert expected in refused(values=VALUES)


def test_a_policy_that_requires_nothing_is_refused(workbench: Workbench, refused: Refused) -> None:
    policy = (workbench.path / "configs/base.yaml").read_text(encoding="utf-8")
    listed = policy[policy.index("  required_tags:") : policy.index("  required_params:")]
    workbench.edit("configs/base.yaml", listed, "  required_tags: []\n")
    assert "policy.required_tags" in refused(values=VALUES)


def test_a_project_without_a_policy_file_is_refused(workbench: Workbench, refused: Refused) -> None:
    (workbench.path / "configs/base.yaml").unlink()
    assert "base.yaml" in refused(values=VALUES)


# --- all of it


def test_everything_that_speaks_against_a_run_is_said_at_once(workbench: Workbench, refused: Refused) -> None:
    set_policy(workbench, "    - git_commit\n", "    - git_commit\n    - ticket\n")
    rmtree(workbench.path / ".git")
    (workbench.path / "data/penguins.csv").unlink()
    (workbench.path / "requirements.txt").unlink()
    said = refused(
        env=NOBODY | {"MLFLOW_RUN_ID": "abc"},
        values=VALUES | {"seed": None, "experiment_name": "", "note": "x" * 6001},
        tags={"ticket": "", "image": "mine"},
    )
    keys = [line.split(":")[0].removeprefix("  - ") for line in said.splitlines()[1:]]
    assert set(keys) == {
        *("git_commit", "data_version", "author", "lock_digest", "seed", "image", "experiment_name"),
        *("MLFLOW_RUN_ID", "note", "ticket"),
    }
    assert "Error: 10 things to fix:" in said
    assert said.count("To fix it: ") == 10


@pytest.mark.parametrize("where", ["tags", "values"])
def test_a_secret_in_a_tag_or_a_param_is_refused_and_not_repeated(refused: Refused, where: str) -> None:
    secret = "ghp_" + "a1B2c3D4e5F6" * 3
    tags, values = ({"ticket": secret}, VALUES) if where == "tags" else ({}, VALUES | {"token": secret})
    message = refused(values=values, tags=tags)
    assert ("ticket" if where == "tags" else "token") in message
    assert "a GitHub token" in message
    assert secret not in message
