"""Refusals: a run that could not be reproduced is refused with every reason at once, before anything is created."""

import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from subprocess import CompletedProcess

import pytest
from reproducibility.errors import GATE, Violation, gate_violation
from workbench import INSIDE, SCRIPTS, Workbench

NOBODY = dict.fromkeys(("AUTHOR", "GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_REQUESTEDFOR", "CIRCLE_USERNAME"))
EXPERIMENT = ("--config", "configs/experiment.yaml")
VALUES = {"experiment_name": "attempt", "seed": 1, "data": {"path": "data/penguins.csv"}}
SECRET = "ghp_" + "a1B2c3D4e5F6" * 3

LFS_POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n"

Refused = Callable[..., str]


@pytest.fixture
def workbench(run_in: Callable[..., CompletedProcess[str]], fresh_project: Path) -> Workbench:
    """A project whose script, committed, tries to start a run."""
    workbench = Workbench(run_in, fresh_project)
    workbench.add("attempt.py")
    workbench.commit()
    return workbench


@pytest.fixture
def refused(workbench: Workbench) -> Refused:
    """`refused(env=…)`: tries to start a run, checks that nothing was created or computed, returns the one message."""

    def refuse(
        *arguments: str, env: dict[str, str | None] | None = None, values: object = None, tags: object = None
    ) -> str:
        env = dict(env or {}) | ({} if values is None else {"CONFIG": json.dumps(values)})
        env |= {} if tags is None else {"TAGS": json.dumps(tags)}
        command = () if values is not None else (*EXPERIMENT, *arguments)
        before = everything_in(workbench.path)
        done = workbench.run("python", "scripts/attempt.py", *command, env=env)
        assert done.returncode == 2, done.stdout + done.stderr
        assert INSIDE not in done.stdout
        assert "Traceback" not in done.stderr
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


def test_a_committed_project_is_accepted_under_the_strictest_policy(workbench: Workbench) -> None:
    set_policy(workbench, "uncommitted_changes: snapshot", "uncommitted_changes: refuse")
    set_policy(workbench, "uncommitted_config: snapshot", "uncommitted_config: refuse")
    done = workbench.run("python", "scripts/attempt.py", *EXPERIMENT, "--set", "seed=7", env={"TAGS": '{"note": "x"}'})
    assert done.returncode == 0, done.stderr
    assert INSIDE in done.stdout
    (run,) = workbench.runs().values()
    assert (run.status, run.params["seed"], run.tags["note"], run.tags["git_dirty"]) == ("FINISHED", "7", "x", "false")


def test_a_refusal_waits_for_no_import_of_mlflow(workbench: Workbench) -> None:
    (workbench.path / "data/penguins.csv").unlink()
    done = workbench.run("python", "scripts/attempt.py", *EXPERIMENT, fresh=True)
    assert done.returncode == 2
    assert done.stdout == "mlflow was not imported\n"


def test_the_gate_s_sentence_is_found_in_what_mlflow_makes_of_it() -> None:
    violation = Violation(GATE, "this run (a. b) has no seed", "set one. Then train")
    assert gate_violation(f"API request failed: INVALID_PARAMETER_VALUE: {violation}\n") == violation
    assert gate_violation(f"API request failed: {Violation('seed', 'it is missing', 'set one')}") is None


# --- configs and tags that are wrong by themselves


def without(*keys: str) -> dict[str, object]:
    return {key: value for key, value in VALUES.items() if key not in keys}


NAMES = ("", "x" * 251, "what?", "line\nbreak", "a//b", "../up", "/top", "end/", ".")  # that MLflow does not keep

# Name: the values, the tags, and what the refusal says.
CASES: dict[str, tuple[object, dict[str, object], str]] = {
    **{
        f"data {data!r}": (VALUES | {"data": data}, {}, "data.path: the config does not say where the data is")
        for data in ({}, None, "data/penguins.csv", {"path": None}, {"path": ""}, {"path": 3})
    },
    **{
        f"data at {path}": (VALUES | {"data": {"path": path}}, {}, f"data.path: {expected}")
        for path, expected in {
            "s3://ada:secret@bucket/p.csv": "s3://bucket/p.csv is an address: a run reads a file or a folder of this "
            "machine, absolute or from the project's root. To fix it: copy it there first, with `aws s3 cp`, or",
            "gs://bucket/rows": "gs://bucket/rows is an address",
            "https://example.com/p.csv?token=abc": "https://example.com/p.csv is an address",
            "odd+scheme://rows": "odd+scheme://rows is an address: a run reads",
            "file:///rows.csv": "file:///rows.csv is an address: a run reads",
            "~/data": "~/data begins with ~, which nothing expands",
            "~nobody-at-all/data": "~nobody-at-all/data begins with ~",
            "$DATA/p.csv": "$DATA/p.csv has a variable, which nothing expands",
            "${HOME}/p.csv": "${HOME}/p.csv has a variable",
            "%DATA%/p.csv": "%DATA%/p.csv has a variable",
            "data/*.csv": "data/*.csv is a pattern: a run reads a file or a folder of this machine, absolute or from "
            "the project's root. To fix it: write data, the folder of the files",
            "*.csv": "*.csv is a pattern",
            "data/part-[0-9].csv": "data/part-[0-9].csv is a pattern",
        }.items()
    },
    "data at no place": (
        VALUES | {"data": {"path": "data/none.csv"}},
        {},
        "data/none.csv does not exist. To fix it: put the data there",
    ),
    "no seed": (without("seed"), {}, "seed: no seed is set"),
    **{
        f"seed {seed!r}": (VALUES | {"seed": seed}, {}, f"seed: {seed!r} is not a whole number from 0 to 4294967295")
        for seed in (-1, 2**32, True, "42", 1.5)
    },
    **{
        f"author {value!r} by hand": (
            VALUES,
            {"author": value},
            f"author: this tag is gathered, it cannot be set to {value!r} by hand",
        )
        for value in ("", "Somebody Else")
    },
    "a long tag": (VALUES, {"note": "x" * 8001}, "note: the tag has 8001 characters, more than the 8000"),
    "a long param": (VALUES | {"note": "x" * 6001}, {}, "note: the param has 6001 characters, more than the 6000"),
    **{f"tag named {key[:20]!r}": (VALUES, {key: "1"}, "the name of this tag") for key in NAMES},
    **{
        # A name that is empty or has a dot would be another's in a config, too.
        f"param named {key[:20]!r}": (
            VALUES | {key: "1"},
            {},
            "it could not be read back" if not key or "." in key else "the name of this param",
        )
        for key in NAMES
    },
    "data_version in the config": (
        VALUES | {"data_version": "mine"},
        {},
        "a config cannot say which version its data has",
    ),
    **{
        f"tag of {value!r}": (VALUES, {"note": value}, f"note: the tag is {value!r}, not text")
        for value in (3, None, ["a"], True)
    },
    **{
        f"value {value!r}": (VALUES | {"x": value}, {}, "config: it holds a value that cannot be recorded")
        for value in (math.nan, math.inf, {1, 2}, b"x", print)
    },
    **{
        f"experiment {name!r}": (
            VALUES | {"experiment_name": name},
            {},
            "experiment_name: the config does not name the experiment",
        )
        for name in (None, "", " ", 3)
    },
    "a secret in a tag": (VALUES, {"ticket": SECRET}, "ticket: the tag looks like a GitHub token"),
    "a secret in a param": (VALUES | {"token": SECRET}, {}, "token: the param looks like a GitHub token"),
}


@pytest.fixture(scope="module")
def refusals(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """{name of a case: the refusal of its run}, from one process that tries them all, in the project itself."""
    folder = tmp_path_factory.mktemp("attempts")
    attempts = {name: (values, tags) for name, (values, tags, _) in CASES.items()}
    (folder / "attempts").write_bytes(pickle.dumps(attempts))
    workbench = Workbench(run_in, project)
    before = everything_in(project)
    done = workbench.script("attempt_each.py", folder / "attempts", fresh=True)
    assert done.returncode == 0, done.stderr
    assert everything_in(project) == before
    answer = json.loads(done.stdout)
    assert not answer["imported"]
    return answer["refusals"]


@pytest.mark.parametrize("name", CASES)
def test_a_config_or_a_tag_that_cannot_be_recorded_is_refused(refusals: dict[str, str], name: str) -> None:
    assert CASES[name][2] in refusals[name]
    assert ". To fix it: " in refusals[name]


def test_no_refusal_repeats_a_secret(refusals: dict[str, str]) -> None:
    assert SECRET not in "".join(refusals.values())


# --- the code


def test_a_project_without_a_repository_is_refused(workbench: Workbench, refused: Refused) -> None:
    rmtree(workbench.path / ".git")
    message = refused(env={"AUTHOR": "Ada"})
    assert "git_commit: " in message
    assert "git init" in message


def test_a_machine_without_git_is_refused(workbench: Workbench, refused: Refused, python: Path) -> None:
    assert "install git" in refused(env={"PATH": str(python.parent), "AUTHOR": "Ada"})


def test_a_repository_without_a_commit_is_refused(workbench: Workbench, refused: Refused) -> None:
    rmtree(workbench.path / ".git")
    workbench.git("init", "--quiet")
    message = refused(env={"AUTHOR": "Ada"})
    assert "has no commit yet" in message
    assert "git commit" in message


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a repository away")
def test_a_repository_of_another_user_is_refused(workbench: Workbench, refused: Refused) -> None:
    for path in (workbench.path, workbench.path / ".git"):
        os.chown(path, 12345, 12345)
    message = refused(env={"AUTHOR": "Ada"})
    assert "dubious ownership" in message
    assert "git config --global --add safe.directory" in message


@pytest.mark.parametrize("change", ["an edit", "a new file"])
def test_changes_are_refused_where_the_policy_says_so(workbench: Workbench, refused: Refused, change: str) -> None:
    set_policy(workbench, "uncommitted_changes: snapshot", "uncommitted_changes: refuse")
    if change == "an edit":
        workbench.edit("pyproject.toml", "[build-system]", "# edited\n[build-system]")
    else:
        workbench.write("notes.txt", "new")
    message = refused()
    assert "uncommitted_changes: the work tree differs from the commit" in message
    assert "commit or stash" in message


def test_a_config_that_differs_from_the_commit_is_refused_where_the_policy_says_so(
    workbench: Workbench, refused: Refused
) -> None:
    set_policy(workbench, "uncommitted_config: snapshot", "uncommitted_config: refuse")
    workbench.edit("configs/experiment.yaml", "max_depth: 5", "max_depth: 6")
    message = refused()
    assert "configs/experiment.yaml differs from the commit" in message
    assert "git add configs/experiment.yaml" in message


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


@pytest.mark.parametrize(
    ("name", "content", "command"),
    [
        (
            "penguins.csv",
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n",
            "git lfs pull",
        ),
        ("penguins.csv", "/annex/objects/SHA256E-s9--00.csv\n", "git annex get data/penguins.csv"),
        ("penguins.csv.dvc", "outs:\n- md5: 00\n  path: penguins.csv\n", "dvc pull data/penguins.csv.dvc"),
    ],
)
def test_a_pointer_to_the_data_is_refused(
    workbench: Workbench, refused: Refused, name: str, content: str, command: str
) -> None:
    (workbench.path / "data/penguins.csv").unlink()
    workbench.write(f"data/{name}", content)
    assert f"To fix it: {command}" in refused()


def test_an_empty_data_folder_is_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    assert "no file is in it" in refused(values=VALUES | {"data": {"path": str(tmp_path / "rows")}})


def test_data_that_changes_while_it_is_read_is_refused(refused: Refused, tmp_path: Path) -> None:
    rows = tmp_path / "rows.bin"
    with rows.open("wb") as file:
        file.truncate(256 * 2**20)
    command = [sys.executable, SCRIPTS / "keep_writing.py", rows]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        try:
            writer.stdout.readline()
            message = refused(values=VALUES | {"data": {"path": str(rows)}})
        finally:
            writer.kill()
    assert "rows.bin changed while it was read" in message


# --- the author, the seed


def test_a_run_of_nobody_is_refused(workbench: Workbench, refused: Refused) -> None:
    for key in ("user.name", "user.email"):
        workbench.git("config", "--unset", key)
    message = refused(env=NOBODY)
    assert "author: nobody is named" in message
    assert "git config user.name" in message


@pytest.mark.parametrize("author", ["", "  "])
def test_an_empty_author_is_refused_although_git_knows_one(refused: Refused, author: str) -> None:
    assert "author: AUTHOR is set but empty" in refused(env={"AUTHOR": author})


def test_a_seed_of_null_is_refused(refused: Refused) -> None:
    assert "seed" in refused("--set", "seed=null")


def test_a_config_file_without_a_seed_is_refused(workbench: Workbench, refused: Refused) -> None:
    workbench.edit("configs/base.yaml", "\nseed: 42", "")
    assert "seed: is missing" in refused()


# --- the tags and params


@pytest.mark.parametrize(("tags", "state"), [({}, "missing"), ({"ticket": ""}, "empty"), ({"ticket": " \n"}, "empty")])
def test_a_tag_that_the_team_requires_is_required(
    workbench: Workbench, refused: Refused, tags: dict[str, str], state: str
) -> None:
    set_policy(workbench, "    - git_commit\n", "    - git_commit\n    - ticket\n")
    assert f"ticket: the required tag is {state}" in refused(tags=tags)


def test_a_param_that_the_team_requires_is_required(workbench: Workbench, refused: Refused) -> None:
    set_policy(workbench, "required_params: [", "required_params: [model.dropout, ")
    assert "model.dropout: the required param is missing" in refused()


def test_going_on_with_an_earlier_run_is_refused(refused: Refused) -> None:
    assert "MLFLOW_RUN_ID: it says to go on with run abc" in refused(env={"MLFLOW_RUN_ID": "abc"})


# --- the policy


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            "uncommitted_changes: snapshot",
            "uncommitted_changes: ignore",
            "uncommitted_changes: input should be 'snapshot' or 'refuse'",
        ),
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


def test_a_project_without_a_policy_file_is_refused(workbench: Workbench) -> None:
    (workbench.path / "configs/base.yaml").unlink()
    env = {"REPRODUCIBILITY_PROJECT": str(workbench.path), "CONFIG": json.dumps(VALUES)}
    done = workbench.run("python", "scripts/attempt.py", env=env, fresh=True)
    assert (done.returncode, INSIDE in done.stdout) == (2, False)
    message = f"Error: REPRODUCIBILITY_PROJECT: {workbench.path} has no configs/base.yaml. To fix it: "
    assert done.stderr.startswith(message), done.stderr


# --- all of it


def test_every_reason_is_reported_at_once(workbench: Workbench, refused: Refused) -> None:
    set_policy(workbench, "    - git_commit\n", "    - git_commit\n    - ticket\n")
    rmtree(workbench.path / ".git")
    (workbench.path / "data/penguins.csv").unlink()
    (workbench.path / "requirements.txt").unlink()
    message = refused(
        env=NOBODY | {"MLFLOW_RUN_ID": "abc"},
        values=VALUES | {"seed": None, "experiment_name": "", "note": "x" * 6001},
        tags={"ticket": "", "image": "mine"},
    )
    keys = [line.split(":")[0].removeprefix("  - ") for line in message.splitlines()[1:]]
    assert set(keys) == {
        *("git_commit", "data_version", "author", "lock_digest", "seed", "image", "experiment_name"),
        *("MLFLOW_RUN_ID", "note", "ticket"),
    }
    assert "Error: 10 things to fix:" in message
    assert message.count("To fix it: ") == 10


@pytest.mark.parametrize("folder", ["data", "../elsewhere"])
def test_a_config_is_found_from_any_folder(workbench: Workbench, folder: str) -> None:
    (workbench.path / folder).mkdir(exist_ok=True)
    done = workbench.script("load_config.py", cwd=workbench.path / folder)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    own = workbench.write(f"{folder}/configs/experiment.yaml", "seed: 7\n")
    try:
        done = workbench.script("load_config.py", cwd=workbench.path / folder)
    finally:
        own.unlink()
        own.parent.rmdir()
    assert "configs/experiment.yaml: experiment_name: is missing" in done.stderr
