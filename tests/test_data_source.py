"""Data that is not in git: `repro fetch` brings it, says that it may not, or what is wrong; CI asks it the same way."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from workbench import Workbench


@pytest.fixture
def workbench(fresh_project: Path, run_in: Callable[..., CompletedProcess[str]]) -> Workbench:
    return Workbench(run_in, fresh_project)


def test_the_command_of_the_team_runs_if_its_login_is_there(workbench: Workbench, tmp_path: Path) -> None:
    assert workbench.run("repro", "fetch").stdout.startswith("The data is in git")
    workbench.edit("configs/base.yaml", "fetch: []", 'fetch: [git, init, --quiet, "a $(b); c"]')
    workbench.edit("configs/base.yaml", "login: []", "login: [STORE_PASSWORD, STORE_USER]")
    login = {"STORE_PASSWORD": "secret", "STORE_USER": "ada"}
    output = tmp_path / "output"
    for told in ([], [f"--output={output}"]):
        absent = workbench.run("repro", "fetch", *told, env={"STORE_USER": "ada", "STORE_PASSWORD": ""})
        assert absent.returncode == (0 if told else 1), absent.stderr
        assert "no login to fetch it: STORE_PASSWORD is empty" in absent.stdout
        assert not (workbench.path / "a $(b); c").exists()
        here = workbench.run("repro", "fetch", *told, env=login)
        assert (here.returncode, "secret" in here.stdout + here.stderr) == (0, False)
        assert (workbench.path / "a $(b); c" / ".git").is_dir()  # one argument, in the project, and no shell
        (workbench.path / "a $(b); c").rename(tmp_path / f"fetched-{len(told)}")
    assert output.read_text("utf-8") == "data=absent\ndata=here\n"
    assert workbench.run("repro", "train", "configs/experiment.yaml", "--set", "data_source.fetch=[]").returncode == 2


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[no-such-program, pull]", "there is no program 'no-such-program'"),
        ("[git, no-such-command]", "git ended with status 1"),
        ("dvc pull", "data_source.fetch"),
        ('[git, ""]', "data_source.fetch"),
    ],
)
def test_a_command_that_cannot_be_used_is_one_line(written: str, said: str, workbench: Workbench) -> None:
    workbench.edit("configs/base.yaml", "fetch: []", f"fetch: {written}")
    done = workbench.run("repro", "fetch")
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr
