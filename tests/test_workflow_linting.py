"""The workflow files as they lie there: clean under linters, least permissions, pinned actions, only nox at work."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROGRAMS = Path(sys.executable).parent
# The jobs that push. They run no code that came from elsewhere than this repository's main branch.
MAY_MORE = {"pull-request": {"contents": "write", "pull-requests": "write"}, "publish": {"contents": "write"}}
FORKS = "github.event.pull_request.head.repo.full_name == github.repository"


@pytest.fixture(params=["the project's", "the template's"])
def workflows(request: pytest.FixtureRequest, project: Path, template: Path) -> list[Path]:
    """The workflow files of a repository."""
    root = project if request.param == "the project's" else template
    found = list((root / ".github" / "workflows").iterdir())
    assert found
    return found


def jobs_of(workflow: Path) -> dict[str, dict]:
    return yaml.safe_load(workflow.read_text("utf-8"))["jobs"]


def steps_of(workflow: Path) -> list[dict]:
    return [step for job in jobs_of(workflow).values() for step in job["steps"]]


@pytest.mark.parametrize(
    "linter",
    [
        ["actionlint"],
        ["zizmor", "--offline"],
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"],
    ],
    ids=lambda linter: linter[0],
)
def test_linters_find_nothing(linter: list[str], workflows: list[Path]) -> None:
    command = [PROGRAMS / linter[0], *linter[1:], *workflows]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actions_are_pinned_to_a_commit_that_a_person_can_read(workflows: list[Path]) -> None:
    for workflow in workflows:
        used = re.findall(r"uses: (.*)", workflow.read_text("utf-8"))
        assert used
        for action in used:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_nobody_may_more_than_needed_and_no_job_hangs(workflows: list[Path]) -> None:
    for workflow in workflows:
        whole = yaml.safe_load(workflow.read_text("utf-8"))
        assert whole["permissions"] == {}
        assert whole["concurrency"]["cancel-in-progress"] is True
        for name, job in whole["jobs"].items():
            assert job["permissions"] == MAY_MORE.get(name, {"contents": "read"}), name
            assert 0 < job["timeout-minutes"] <= 60, name


def test_no_credentials_are_left_in_a_checkout(workflows: list[Path]) -> None:
    for workflow in workflows:
        checkouts = [step for step in steps_of(workflow) if step.get("uses", "").startswith("actions/checkout@")]
        without = {"elsewhere"} & jobs_of(workflow).keys()  # it has what another job made
        assert len(checkouts) == len(jobs_of(workflow)) - len(without)
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_only_nox_does_the_work_and_no_expression_reaches_a_shell(workflows: list[Path]) -> None:
    worked = 0
    for workflow in workflows:
        scripts = [step["run"] for step in steps_of(workflow) if "run" in step]
        for script in scripts:
            assert "${{" not in script
            for line in script.strip().splitlines():
                program = shlex.split(line)[0]
                assert program == "nox" or line.startswith(("uv tool install ", "mkdir -p ")), line
                worked += program == "nox"
    assert worked >= 3


def test_what_is_cached_is_named_by_the_locks(workflows: list[Path]) -> None:
    for workflow in workflows:
        for step in steps_of(workflow):
            if step.get("uses", "").startswith("astral-sh/setup-uv@") and step["with"]["enable-cache"]:
                assert step["with"]["cache-dependency-glob"].endswith("requirements*.txt")


def test_secrets_are_given_to_one_step_of_a_job_that_forks_cannot_start(project: Path) -> None:
    workflow = project / ".github" / "workflows" / "ml-validation.yml"
    given = [
        (name, step.get("name"))
        for name, job in jobs_of(workflow).items()
        for step in job["steps"]
        if "secrets." in str(step)
    ]
    assert given == [("recorded-run", "Check the run that the pull request names")]
    assert FORKS in jobs_of(workflow)["recorded-run"]["if"]
    text = workflow.read_text("utf-8")
    assert text.count("secrets.") == 2 and "pull_request_target" not in text
    assert "pull_request.body" not in text and "pull_request.title" not in text


def test_what_is_trained_is_the_pull_requests_own_commit(project: Path) -> None:
    workflow = project / ".github" / "workflows" / "ml-validation.yml"
    for name, job in jobs_of(workflow).items():
        assert job["steps"][0]["with"]["ref"].startswith("${{ github.event.pull_request.head.sha"), name
        assert name == "checks" or job["steps"][0]["with"]["fetch-depth"] == 0


@pytest.mark.parametrize(("chosen", "tested"), [("3.11", ["3.11", "3.12", "3.13"]), ("3.13", ["3.13"])])
def test_the_checks_run_on_the_chosen_python_and_the_newer_ones(
    chosen: str, tested: list[str], render, tmp_path: Path
) -> None:
    assert render({"python_version": chosen}, tmp_path).returncode == 0
    (project,) = tmp_path.iterdir()
    jobs = jobs_of(project / ".github" / "workflows" / "ml-validation.yml")
    assert jobs["checks"]["strategy"]["matrix"]["python"] == tested
    setup = [step["with"]["python-version"] for step in jobs["experiment"]["steps"] if "python-version" in str(step)]
    assert setup == [chosen]


def test_the_text_of_a_pull_request_has_the_items_of_the_checklist_each_with_its_command(project: Path) -> None:
    text = (project / ".github" / "pull_request_template.md").read_text("utf-8")
    items = re.findall(r"^- \[ \] \*\*(.+?)\*\*.*`nox -s", text, re.MULTILINE)
    assert items == [
        "MLflow logging for all parameters",
        "Data version tracked",
        "Random seed set",
        "Config file committed",
        "requirements.txt updated",
    ]
    assert re.search(r"^Run: `", text, re.MULTILINE) and re.search(r"^Verdict:", text, re.MULTILINE)


def test_the_job_that_may_write_renders_no_template_and_trusts_no_cache(project: Path) -> None:
    jobs = jobs_of(project / ".github" / "workflows" / "template-update.yml")
    may_write = str(jobs["pull-request"])
    assert "'enable-cache': False" in may_write and "'enable-cache': True" not in may_write
    assert "nox -s update -- --open" in may_write and "--offer" not in may_write
    assert "secrets." not in str(jobs["merge"])
