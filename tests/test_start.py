"""How a script was started is recorded without secrets, and a reproduction starts it in the same way."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile
from subprocess import CompletedProcess
from typing import Any

import pytest
from reproducibility.provenance.start import without_secrets
from reproductions import TinyWorkbench
from workbench import SCRIPTS, RecordedRun


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> TinyWorkbench:
    workbench = TinyWorkbench.new(run_in, project, tmp_path_factory.mktemp("start"))
    workbench.edit("configs/base.yaml", "uncommitted_config: refuse", "uncommitted_config: snapshot")
    workbench.add("given_arguments.py")
    copyfile(SCRIPTS / "given_arguments.py", workbench.path / "src" / "penguin_classifier" / "given.py")
    workbench.edit("src/penguin_classifier/given.py", "import argparse\n", "import argparse\n\nfrom . import notes\n")
    workbench.edit("src/penguin_classifier/given.py", "given.note", "given.note + notes.NOTE")
    workbench.commit()
    return workbench


def started(workbench: TinyWorkbench, name: str, *command: str | Path, **options: Any) -> RecordedRun:
    done = workbench.run("python", *command, **options)
    assert done.returncode == 0, done.stderr
    return workbench.runs()[name]


def start_of(run: RecordedRun) -> dict[str, Any]:
    return json.loads((run.evidence / "manifest.json").read_text("utf-8"))["start"]


def test_a_script_is_reproduced_with_its_arguments_in_its_folder(workbench: TinyWorkbench) -> None:
    given = ["0.5", "--note", "of a script; $HOME"]
    run = started(workbench, given[2], "given_arguments.py", *given, cwd=workbench.path / "scripts")
    expected = {"module": None, "command": None, "arguments": given, "hidden": [], "folder": "scripts"}
    assert start_of(run) == expected
    assert start_of(workbench.identical(run.id)) == expected


def test_a_module_is_reproduced_as_a_module(workbench: TinyWorkbench) -> None:
    given = ["0.25", "--rows=data/penguins.csv"]
    run = started(workbench, "nonefirst", "-m", "penguin_classifier.given", *given)
    reproduction = workbench.identical(run.id)
    assert start_of(reproduction)["module"] == "penguin_classifier.given"
    assert reproduction.metrics == run.metrics


def test_the_config_stands_for_the_arguments_of_an_experiment(workbench: TinyWorkbench) -> None:
    workbench.train("tiny", "rate=0.75")
    assert start_of(workbench.runs()["tiny"])["arguments"] is None


def test_arguments_that_differ_are_an_input_that_differs(workbench: TinyWorkbench) -> None:
    options = {"cwd": workbench.path / "scripts"}
    a = started(workbench, "a", "given_arguments.py", "0.5", "--note=a", **options)
    b = started(workbench, "b", "given_arguments.py", "0.75", "--note=b", **options)
    found = json.loads(workbench.run("repro", "diff", a.id, b.id, "--json").stdout)
    assert [(each["name"], each["a"], each["b"]) for each in found["input_differences"]] == [
        ("arguments of the script", "0.5 --note=a", "0.75 --note=b")
    ]


def test_a_secret_among_the_arguments_is_recorded_nowhere(workbench: TinyWorkbench) -> None:
    given = ["0.5", "--note=secret", "--api-token", "hunter2"]
    run = started(workbench, "secret", "given_arguments.py", *given, cwd=workbench.path / "scripts")
    assert (start_of(run)["arguments"][3], start_of(run)["hidden"]) == ("(a secret)", [3])
    assert not [file for file in run.evidence.iterdir() if b"hunter2" in file.read_bytes()]
    assert b"hunter2" not in workbench.store.read_bytes()
    message = workbench.refused(run.id)
    assert "its script was given a secret as argument 4, and nothing records secrets. To fix it: let the" in message


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("--password hunter2 --epochs 3", "--password (a secret) --epochs 3"),
        ("--db-password=hunter2", "--db-password=(a secret)"),
        ("db.password=hunter2 model.depth=3", "db.password=(a secret) model.depth=3"),
        ("--API_KEY hunter2 --hf-token=x", "--API_KEY (a secret) --hf-token=(a secret)"),
        ("--token --verbose", "--token --verbose"),
        ("--pad-token <pad> --max_tokens 5 --key 7 --primary-key=id", None),
        ("postgresql://ada:hunter2@host/db", "postgresql(a URL with a password)ost/db"),
        ("0.5 -x --data https://host/a.csv?raw=true", None),
    ],
)
def test_what_counts_as_a_secret(given: str, shown: str | None) -> None:
    result, hidden = without_secrets(given.split(" "))
    assert " ".join(result) == (shown or given)
    assert bool(hidden) == (shown is not None and shown != given)
