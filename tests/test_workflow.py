"""The generated workflow file is executed: green when all is well, red with the reason in its summary when not."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import bytecode
import pytest
import yaml
from github import GitHub, make_environments
from needs import skip_without
from preloaded import Preloaded
from upstream import template_repository
from workbench import SCRIPTS, Workbench, store_at

TITLES = {
    "parameters": "MLflow logging for all parameters",
    "data": "Data version tracked",
    "seed": "Random seed set",
    "config": "Config file committed",
    "requirements": "requirements.txt updated",
    "commit": "Commit",
}
FIGURE = '        mlflow.log_figure(confusion_matrix(split, predicted), "confusion_matrix.png")\n'
DRAWN = '        mlflow.log_param("drawn", __import__("os").urandom(4).hex())\n'
TRAIN = "    return run_experiment(config)\n"
OTHERWISE = """\
    run_id = run_experiment(config.model_copy(update={"seed": 7}))
    with open("data/penguins.csv", "a") as table:
        table.write("Adelie,Dream,39,18,181,3700,male,2009\\n")
    return run_id
"""
DEEP = "          fetch-depth: 0\n"
# What is wrong in the pull request, as file, before and after: a param that no seed draws, another seed than the
# config's, data that the script changes, a shallow clone. test_checklist.py breaks each item alone.
BROKEN = [
    ("src/penguin_classifier/experiment.py", FIGURE, FIGURE + DRAWN),
    ("scripts/train.py", TRAIN, OTHERWISE),
    (".github/workflows/ml-validation.yml", DEEP, ""),
]
EXPERIMENT, RECORDED_RUN = ("--job", "experiment"), ("--job", "recorded-run")


@pytest.fixture
def proposal(fresh_project: Path, run_in: Callable[..., CompletedProcess[str]]) -> Workbench:
    """A project with a small experiment on main, and on a branch a commit that somebody proposes."""
    workbench = Workbench(run_in, fresh_project)
    workbench.edit("configs/experiment.yaml", "n_estimators: 200", "n_estimators: 5")
    workbench.commit()
    workbench.git("switch", "--quiet", "--create", "feature")
    workbench.edit("configs/experiment.yaml", "max_depth: 5", "max_depth: 4")
    workbench.commit()
    return workbench


@pytest.fixture
def github(
    tmp_path: Path,
    once: Callable[[str, Callable[[Path], None]], Path],
    python: Path,
    preloaded: Preloaded | None,
    project: Path,
    clean_env: dict[str, str],
) -> GitHub:
    """A hosting service that runs workflows. What `preloaded` compiled is compiled in its environments too."""
    prefix, cache = Path(clean_env["PYTHONPYCACHEPREFIX"]), Path(clean_env["REPRODUCIBILITY_CACHE"])

    def make(folder: Path) -> None:
        make_environments(folder, python, project / "requirements.txt", prefix)
        for environment in (cache / "environments").glob("*/"):
            bytecode.put_beside(prefix, python.parent.parent, environment)

    return GitHub(tmp_path / "github", once("nox", make), clean_env)


@pytest.mark.usefixtures("engine_program")
def test_a_fork_passes_every_job_that_needs_no_login(proposal: Workbench, github: GitHub) -> None:
    version = "3.12" if shutil.which("python3.12") else "3.11"
    done = github.pull_request(
        proposal,
        *("--matrix", f"python:{version}"),
        fork=True,
        variables={"MLFLOW_TRACKING_URI": "https://mlflow.example.com"},
        body="Run: `" + "a" * 32 + "`",
    )
    assert done.jobs == dict.fromkeys(["checks", "experiment", "ml-validation"], "success"), done.log[-3000:]
    assert done.rows == dict.fromkeys(TITLES.values(), "✅")
    assert f"Session tests-{version} was successful" in done.log
    head = proposal.git("rev-parse", "HEAD")
    assert f"commit {head}" in done.summary
    evidence = done.artifacts / "evidence"
    assert (evidence / "checklist.md").read_text("utf-8").strip() == done.summary.strip()
    runs = proposal.every_run(evidence / "mlflow.db")
    assert {run.tags["git_commit"] for run in runs} == {head}
    assert runs[0].tags["author"] == "ada"
    # The training in a container is the reproduction: nothing is trained a third time.
    assert [run.tags["image"] == "none" for run in runs] == [True, False]
    assert {run.params["model.n_estimators"] for run in runs} == {"20"}
    assert "IDENTICAL" in done.log
    (kept,) = github.caches.iterdir()
    assert [file.suffix for file in kept.iterdir()] == [".tar"]
    if shutil.which("node"):  # with which act computes what GitHub computes
        assert re.fullmatch(r"packages-Linux-\w+-[0-9a-f]{64}", kept.name)


def test_broken_items_end_red_and_the_summary_names_each(proposal: Workbench, github: GitHub) -> None:
    for edit in BROKEN:
        proposal.edit(*edit)
    proposal.commit()
    done = github.pull_request(proposal, *EXPERIMENT)
    assert done.jobs == {"experiment": "failure"}, done.log[-3000:]
    assert done.rows == {title: "❔" if key == "requirements" else "❌" for key, title in TITLES.items()}, done.summary
    assert "fetch-depth: 0" in done.summary  # how to make the clone deep


def test_a_training_that_is_refused_leaves_a_summary_that_says_so_also_when_it_runs_again(
    proposal: Workbench, github: GitHub
) -> None:
    proposal.edit("configs/base.yaml", "path: data/penguins.csv", "path: data/gone.csv")
    proposal.commit()
    for attempt in (1, 2):
        done = github.pull_request(proposal, *EXPERIMENT, attempt=attempt)
        assert done.jobs == {"experiment": "failure"}
        assert "data/gone.csv does not exist" in done.log
        assert done.rows[TITLES["commit"]] == "❌"
        assert "nothing was recorded here yet" in done.summary
        assert (done.artifacts / "evidence" / "checklist.md").read_text("utf-8").strip() == done.summary.strip()
        mark = done.artifacts / "evidence" / "first"
        assert not mark.exists()
        mark.touch()


@pytest.mark.parametrize(
    ("outcomes", "passes"),
    [(("success", "success"), True), (("failure", "success"), False), (("success", "skipped"), False)],
)
def test_the_check_to_require_passes_only_if_every_job_succeeded(
    outcomes: tuple[str, str], passes: bool, proposal: Workbench, github: GitHub
) -> None:
    workflow = proposal.path / ".github" / "workflows" / "ml-validation.yml"
    whole = yaml.safe_load(workflow.read_text("utf-8"))
    for name, outcome in zip(("checks", "experiment"), outcomes, strict=True):
        whole["jobs"][name] = {"runs-on": "ubuntu-latest", "steps": [{"run": f"[ {outcome} = success ]"}]}
        if outcome == "skipped":
            whole["jobs"][name]["if"] = False
    whole["on"] = whole.pop(True)  # YAML reads the key `on` as true
    proposal.write(".github/workflows/ml-validation.yml", yaml.safe_dump(whole))
    proposal.commit()
    done = github.pull_request(proposal, "--workflows", ".github/workflows/ml-validation.yml")
    assert done.jobs["ml-validation"] == ("success" if passes else "failure"), done.log


@pytest.fixture
def folder_of_a_bigger_repository(render, run_in, tmp_path: Path) -> Workbench:
    """A project in the folder ml/ of somebody's repository, after what its hook says, with data that DVC keeps."""
    if shutil.which("dvc") is None:
        skip_without("dvc")
    top = tmp_path / "company"
    Workbench(run_in, tmp_path).git("init", "--quiet", "--initial-branch=main", str(top))
    outer = Workbench(run_in, top)
    for key, value in {"user.name": "Ada", "user.email": "ada@example.com"}.items():
        outer.git("config", key, value)
    rendered = render({}, top / "ml")
    assert rendered.returncode == 0, rendered.stderr
    workbench = Workbench(run_in, top / "ml" / "penguin-classifier")
    assert "Move those of this project there" in rendered.stdout
    (written,) = re.findall(r"write (PROJECT: .*) where they say (?=PROJECT: \.)", rendered.stdout)
    assert written == "PROJECT: ml/penguin-classifier"
    (top / ".github").mkdir()
    (workbench.path / ".github" / "workflows").rename(top / ".github" / "workflows")
    for file in (top / ".github" / "workflows").iterdir():
        outer.edit(str(file.relative_to(top)), "PROJECT: .", written)
    # What a team uncomments and writes for data that is not in git.
    workflow = ".github/workflows/ml-validation.yml"
    outer.edit(workflow, "    # environment: {name: data-store", "    environment: {name: data-store")
    outer.edit(workflow, "        # env:\n        #   AWS_ACCESS_KEY_ID", "        env:\n          AWS_ACCESS_KEY_ID")
    outer.edit(workflow, "        #   AWS_SECRET_ACCESS_KEY", "          AWS_SECRET_ACCESS_KEY")
    workbench.edit("configs/base.yaml", "fetch: []", "fetch: [dvc, pull, --quiet]")
    workbench.edit("configs/base.yaml", "login: []", "login: [AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY]")
    for command in (
        ("init", "--quiet", "--subdir"),
        ("config", "core.analytics", "false"),
        ("remote", "add", "--quiet", "--default", "store", str(tmp_path / "store")),
        ("add", "--quiet", "data/penguins.csv"),
        ("push", "--quiet"),
    ):
        if command[0] == "add":
            workbench.git("rm", "--quiet", "--cached", "--ignore-unmatch", "data/penguins.csv")
        done = workbench.run("dvc", *command, env={"PYTHONPATH": None, "CI": "true"})
        assert done.returncode == 0, done.stdout + done.stderr
    workbench.edit("configs/ci.yaml", "n_estimators: 20", "n_estimators: 5")
    workbench.commit()
    workbench.git("switch", "--quiet", "--create", "feature")
    workbench.edit("configs/experiment.yaml", "max_depth: 5", "max_depth: 4")
    workbench.commit()
    return workbench


@pytest.mark.usefixtures("engine_program")
def test_a_merge_queue_a_bigger_repository_and_data_that_is_not_in_git(
    folder_of_a_bigger_repository: Workbench, github: GitHub
) -> None:
    workbench = folder_of_a_bigger_repository
    secrets = {"DATA_ACCESS_KEY_ID": "ada", "DATA_SECRET_ACCESS_KEY": "keep-this-out"}
    done = github.merge_group(workbench, *EXPERIMENT, secrets=secrets)
    assert done.jobs == {"experiment": "success"}, done.log[-3000:]
    assert done.rows == dict.fromkeys(TITLES.values(), "✅")
    assert "on GitHub, as its event says" in done.summary
    assert workbench.git("ls-files", "data/penguins.csv") == ""
    assert github.merge_group(workbench, *RECORDED_RUN).jobs == {}  # skipped, which counts as passed

    fork = github.pull_request(workbench, *EXPERIMENT, fork=True)
    assert fork.jobs == {"experiment": "success"}, fork.log[-3000:]
    assert fork.rows == {} and not (fork.artifacts / "evidence").exists()
    said = "no login to fetch it: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY are empty"
    assert said in fork.summary and "forks and Dependabot" in fork.summary


def test_the_run_that_a_pull_request_names_is_checked_where_it_was_recorded(
    proposal: Workbench, github: GitHub, tmp_path: Path
) -> None:
    central = tmp_path / "central" / "mlflow.db"
    where = store_at(central)
    for _ in range(2):  # the second run is a reproduction of the first
        done = proposal.run("repro", "train", "configs/experiment.yaml", env=where | {"PYTHONHASHSEED": "0"})
        assert done.returncode == 0, done.stdout + done.stderr
    run = proposal.every_run(central)[0]
    hostile = "`touch /tmp/pwned-$$` $(touch pwned) ${{ github.token }} \"; touch pwned; '"
    body = f"{hostile}\n\nRun: `{run.id}`\n{hostile}\n"
    for checked in (
        github.pull_request(proposal, *RECORDED_RUN, variables=where, body=body),
        github.start(proposal, *RECORDED_RUN, variables=where, inputs={"run": run.id}),
    ):
        assert checked.jobs == {"recorded-run": "success"}, checked.log[-3000:]
        assert checked.rows == dict.fromkeys(TITLES.values(), "✅")

    for refused in (
        github.pull_request(proposal, *RECORDED_RUN, variables=where, body=f"Run: {hostile}"),
        github.start(proposal, *RECORDED_RUN, variables=where, inputs={"run": hostile}),
    ):
        assert refused.jobs == {"recorded-run": "failure"}
        assert "which is no run id" in refused.summary
    left = [Path(folder) / name for folder, _, names in os.walk(tmp_path) for name in names if "pwned" in name]
    assert left == [] and not list(Path("/tmp").glob("pwned-*"))

    for unable in ({"fork": True, "variables": where}, {"variables": {}}):
        assert github.pull_request(proposal, *RECORDED_RUN, body=f"Run: {run.id}", **unable).jobs == {}


def test_hooks_of_pre_commit_run_lint_before_a_commit_and_fetch_nothing(
    fresh_project: Path, run_in, tmp_path: Path
) -> None:
    workbench = Workbench(run_in, fresh_project)
    # No network: what would be cloned or installed could not be.
    offline = {"PYTHONPATH": None, "PRE_COMMIT_HOME": str(tmp_path / "hooks"), "ALL_PROXY": "http://127.0.0.1:9"}
    offline |= {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "UV_OFFLINE": "1"}
    installed = workbench.run("pre-commit", "install", env=offline)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    workbench.write("src/penguin_classifier/fine.py", '"""Fine."""\n')
    workbench.git("add", "--all")
    taken = workbench.run("git", "commit", "--message=Fine", env=offline)
    assert taken.returncode == 0, taken.stdout + taken.stderr
    assert "nox -s lint" in taken.stderr and "Passed" in taken.stderr

    workbench.write("src/penguin_classifier/untidy.py", "import os\n")
    workbench.git("add", "--all")
    kept_out = workbench.run("git", "commit", "--message=Untidy", env=offline)
    assert kept_out.returncode == 1
    assert "F401" in kept_out.stdout + kept_out.stderr
    assert workbench.git("log", "-1", "--format=%s") == "Fine"
    stage = ["pre-commit", "run", "--all-files", "--hook-stage=pre-push"]
    pushed = workbench.run(*stage, env=offline | {"SKIP": "tests"})
    assert re.search(r"nox -s tests\.+Skipped", pushed.stdout), pushed.stdout + pushed.stderr
    assert (workbench.path / ".git" / "hooks" / "pre-push").exists()


def test_every_week_a_pull_request_brings_what_is_new_in_the_template(
    github: GitHub, render: Callable[..., CompletedProcess[str]], run_in, clean_env: dict[str, str], tmp_path: Path
) -> None:
    """A program stands in for gh, which talks to GitHub."""
    upstream = template_repository(tmp_path / "template", clean_env)
    upstream.git("remote", "add", "origin", upstream.path.as_posix())
    assert render({}, tmp_path / "made", source=upstream.path).returncode == 0
    (made,) = (tmp_path / "made").iterdir()
    project = Workbench(run_in, made)
    page = upstream.path / "<<cookiecutter.project_slug>>" / "docs" / "updates.md"
    page.write_text(page.read_text("utf-8") + "\nmore\n", "utf-8")
    branch = f"template-update/{upstream.commit()[:10]}"
    shutil.copyfile(SCRIPTS / "gh.py", tmp_path / "gh")
    (tmp_path / "gh").chmod(0o755)
    github.env |= {"PATH": os.pathsep.join([str(tmp_path), github.env["PATH"]]), "GH_LOG": str(tmp_path / "gh.log")}

    done = github.week(project)

    assert done.jobs == {"merge": "success", "pull-request": "success"}, done.log[-5000:]
    project.git("fetch", "--quiet", str(github.origin), f"{branch}:{branch}")
    assert project.git("diff", "--name-only", "main", branch).split() == ["docs/updates.md", "pyproject.toml"]
    assert project.git("log", "-1", "--format=%an", branch) == "github-actions[bot]"
    asked = [json.loads(line)[:4] for line in (tmp_path / "gh.log").read_text("utf-8").splitlines()]
    # act itself asks for a token.
    assert [each for each in asked if each[0] == "pr"] == [
        ["pr", "list", "--state", "open"],
        ["pr", "create", "--head", branch],
    ]
