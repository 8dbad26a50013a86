"""The workflow files as they lie there: clean under linters, least permissions, pinned actions, only nox at work."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROGRAMS = Path(sys.executable).parent
# The jobs that open a pull request. They run no code that came from elsewhere than this repository's main branch.
MAY_MORE = {"pull-request": {"contents": "write", "pull-requests": "write"}}
FORKS = "github.event.pull_request.head.repo.full_name == github.repository"


@pytest.fixture(params=["the project's", "the template's", "of repositories that join"])
def workflows(request: pytest.FixtureRequest, project: Path, template: Path) -> list[Path]:
    """The workflow files of a repository, or those that `nox -s join` gives to others."""
    if request.param == "of repositories that join":
        return list((template / "join" / "given").glob("*.yml"))
    root = project if request.param == "the project's" else template
    found = list((root / ".github" / "workflows").iterdir())
    assert found
    return found


def jobs_of(workflow: Path) -> dict[str, dict]:
    return yaml.safe_load(workflow.read_text("utf-8"))["jobs"]


def working_jobs(workflow: Path) -> dict[str, dict]:
    """The jobs that run code of the repository: all but the one that only counts what the others ended with."""
    return {name: job for name, job in jobs_of(workflow).items() if "timeout-minutes" in job and job["permissions"]}


def events_of(workflow: Path) -> dict[str, dict]:
    return yaml.safe_load(workflow.read_text("utf-8"))[True]  # YAML reads the key `on` as true


def steps_of(workflow: Path) -> list[dict]:
    return [step for job in jobs_of(workflow).values() for step in job["steps"]]


@pytest.mark.parametrize(
    "linter",
    [
        ["actionlint"],
        ["zizmor", "--offline", "--persona=auditor", "--no-progress"],
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"],
    ],
    ids=lambda linter: linter[0],
)
def test_linters_find_nothing(linter: list[str], workflows: list[Path]) -> None:
    command = [PROGRAMS / linter[0], *linter[1:], *workflows]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pipeline_for_gitlab_is_one_that_gitlab_reads_and_only_nox_works_in_it(project: Path) -> None:
    file = project / "docs" / "gitlab-ci.yml"
    command = [
        PROGRAMS / "check-jsonschema",
        "--builtin-schema",
        "vendor.gitlab-ci",
        "--data-transform",
        "gitlab-ci",
        file,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pipeline = yaml.safe_load(file.read_text("utf-8"))
    jobs = {name: job for name, job in pipeline.items() if "script" in job}
    assert list(jobs) == ["checks", "experiment", "recorded-run"]
    for name, job in jobs.items():
        assert all(line.startswith("nox -s ") for line in job["script"]), name
    # If the description reached a shell, anybody could run commands.
    assert "MERGE_REQUEST_DESCRIPTION" not in file.read_text("utf-8")


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
            assert job["permissions"] in (MAY_MORE.get(name, {"contents": "read"}), {}), name
            assert 0 < job["timeout-minutes"] <= 60, name


def test_no_credentials_are_left_in_a_checkout(workflows: list[Path]) -> None:
    for workflow in workflows:
        checkouts = [step for step in steps_of(workflow) if step.get("uses", "").startswith("actions/checkout@")]
        assert len(checkouts) == len(working_jobs(workflow))
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_only_nox_does_the_work_and_no_expression_reaches_a_shell(workflows: list[Path]) -> None:
    for workflow in workflows:
        for name, job in jobs_of(workflow).items():
            scripts = [step["run"] for step in job["steps"] if "run" in step]
            worked = 0
            for script in scripts:
                assert "${{" not in script
                for line in script.strip().splitlines():
                    program = shlex.split(line)[0]
                    others = ("uv tool install ", 'mkdir -p "$EVIDENCE"', 'rm -rf "$EVIDENCE"', "exit 1")
                    assert program == "nox" or line.startswith(others), line
                    worked += program == "nox"
            assert worked >= 1 or name not in working_jobs(workflow)


def test_what_is_cached_is_named_by_the_locks(workflows: list[Path]) -> None:
    for workflow in workflows:
        for step in steps_of(workflow):
            if step.get("uses", "").startswith("astral-sh/setup-uv@") and step["with"]["enable-cache"]:
                assert step["with"]["cache-dependency-glob"].endswith("requirements*.txt")
                # uv itself comes in the version of the lock.
                assert step["with"]["version-file"].startswith("requirements")


def test_secrets_are_given_to_one_step_of_a_job_that_forks_cannot_start(project: Path) -> None:
    folder = project / ".github" / "workflows"
    given = [
        (workflow.name, name, step.get("name"))
        for workflow in folder.iterdir()
        for name, job in jobs_of(workflow).items()
        for step in job["steps"]
        if "secrets." in str(step)
    ]
    assert given == [("recorded-run.yml", "recorded-run", "Check the run that is named")]
    job = jobs_of(folder / "recorded-run.yml")["recorded-run"]
    assert FORKS in job["if"]
    assert job["environment"] == {"name": "tracking-server", "deployment": False}
    lines = "\n".join(workflow.read_text("utf-8") for workflow in folder.iterdir()).splitlines()
    text = "\n".join(line for line in lines if not line.strip().startswith("#"))
    assert text.count("secrets.") == 2 and "pull_request_target" not in text
    assert "pull_request.body" not in text and "pull_request.title" not in text and "inputs." not in text


def test_an_edit_of_the_text_runs_only_what_reads_the_text(project: Path) -> None:
    folder = project / ".github" / "workflows"
    trains, reads = events_of(folder / "ml-validation.yml"), events_of(folder / "recorded-run.yml")
    assert trains["pull_request"] is None  # opened, reopened, synchronize
    assert reads["pull_request"]["types"] == ["opened", "reopened", "synchronize", "edited"]
    assert "event.action" not in (folder / "ml-validation.yml").read_text("utf-8")
    # A merge queue waits for ever for a required check that no workflow answers.
    assert "merge_group" in trains and "merge_group" in reads
    assert {"schedule", "workflow_dispatch"} < trains.keys()


def test_one_check_stands_for_all_others(project: Path) -> None:
    jobs = jobs_of(project / ".github" / "workflows" / "ml-validation.yml")
    whole = jobs.pop("ml-validation")
    assert whole["needs"] == list(jobs)
    assert whole["if"] == "always()"  # a job that is skipped counts as passed
    (step,) = whole["steps"]
    assert step["if"] == " || ".join(f"needs.{name}.result != 'success'" for name in jobs)
    page = (project / "docs" / "on-github.md").read_text("utf-8")
    assert "require the check `ml-validation`" in page


def test_what_is_trained_is_the_pull_requests_own_commit(project: Path) -> None:
    for workflow in (project / ".github" / "workflows").iterdir():
        for name, job in working_jobs(workflow).items():
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
