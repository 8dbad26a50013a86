"""The checklist: passes for a run that deserves it; break one thing and the item that is about it fails."""

import json
import re
import sqlite3
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import copytree, rmtree
from subprocess import CompletedProcess
from typing import NamedTuple

import pytest
from reproducibility.checklist.pull_request import named_run
from reproducibility.errors import Refused
from workbench import Workbench, store_at

MACHINERY = "packages/reproducibility/pyproject.toml"
KEYS = ["parameters", "data", "seed", "config", "requirements", "commit"]
CONFIG = "extends: base.yaml\nrate: 1\nquirk: none\n"


class Answer(NamedTuple):
    """The checklist's answer: its exit status, and the state and the text of each item."""

    status: int
    run_id: str | None
    states: dict[str, str]
    texts: dict[str, str]

    def not_passing(self) -> list[str]:
        return [key for key, state in self.states.items() if state != "passes"]


class ReviewWorkbench(Workbench):
    """A project under review: a repository with a remote, and runs in a store."""

    store_env: dict[str, str]

    def train(self, config: str = "configs/reviewed.yaml", *options: str) -> str:
        done = self.run("python", "scripts/reviewed.py", "--config", config, "--json", *options, env=self.store_env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["run_id"]

    def ask(self, *options: str, env: dict[str, str] | None = None) -> Answer:
        done = self.run("repro", "checklist", "--json", *options, env=self.store_env | (env or {}), timeout=600)
        assert done.stdout, done.stderr
        assert "Traceback" not in done.stderr
        answer = json.loads(done.stdout)
        texts = {
            item["key"]: "\n".join(
                [
                    *item["evidence"],
                    *(f"{each['key']}: {each['problem']} -> {each['fix']}" for each in item["problems"]),
                ]
            )
            for item in answer["items"]
        }
        assert list(texts) == KEYS
        states = {each["key"]: each["state"] for each in answer["items"]}
        return Answer(done.returncode, answer["run_id"], states, texts)

    def refused(self, *options: str) -> str:
        done = self.run("repro", "checklist", *options, env=self.store_env)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr
        return done.stderr

    def push(self) -> str:
        commit = self.commit()
        self.git("push", "--quiet", "origin", "HEAD")
        return commit

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Undo what the block does to the work tree and to the branch."""
        head = self.git("rev-parse", "HEAD")
        try:
            yield
        finally:
            self.git("checkout", "--quiet", "--force", "main")
            self.git("reset", "--quiet", "--hard", head)
            self.git("clean", "--quiet", "--force", "-d")

    def clone(self, path: Path, *options: str) -> "ReviewWorkbench":
        self.git("clone", "--quiet", *options, self.git("remote", "get-url", "origin"), str(path))
        cloned = ReviewWorkbench(self._run_in, path)
        cloned.store_env = self.store_env
        cloned.git("config", "user.name", "Ada")
        cloned.git("config", "user.email", "ada@example.com")
        return cloned

    @contextmanager
    def edited_store(self, tmp_path: Path, *statements: str) -> Iterator[dict[str, str]]:
        """The variables of a copy of the store, after *statements* of SQL that MLflow does not see."""
        with closing(sqlite3.connect(self.store)) as kept, closing(sqlite3.connect(tmp_path / "edited.db")) as edited:
            kept.backup(edited)
            for statement in statements:
                assert edited.execute(statement).rowcount
            edited.commit()
        yield store_at(tmp_path / "edited.db")


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> ReviewWorkbench:
    folder = tmp_path_factory.mktemp("review")
    workbench = ReviewWorkbench(run_in, Path(copytree(project, folder / project.name)))
    workbench.store_env = store_at(workbench.store)
    workbench.add("reviewed.py")
    workbench.write("configs/reviewed.yaml", CONFIG)
    workbench.write("configs/chance.yaml", CONFIG.replace("none", "chance"))
    workbench.write("configs/logs.yaml", CONFIG.replace("none", "logs a param"))
    workbench.git("branch", "--quiet", "--move", "main")
    workbench.git("init", "--quiet", "--bare", "--initial-branch=main", str(folder / "remote.git"))
    workbench.git("remote", "add", "origin", (folder / "remote.git").as_uri())
    workbench.push()
    return workbench


@pytest.fixture(scope="module")
def run_id(workbench: ReviewWorkbench) -> str:
    """A run that deserves to pass, and that has a reproduction."""
    run_id = workbench.train()
    answer = workbench.ask("--prove")
    assert (answer.status, answer.run_id) == (0, run_id), answer.texts
    return run_id


def test_a_reproduced_run_passes_and_is_found_without_its_id(workbench: ReviewWorkbench, run_id: str) -> None:
    found = workbench.ask()
    lists = [tomllib.loads((workbench.path / name).read_text("utf-8")) for name in ("pyproject.toml", MACHINERY)]
    names = {re.split(r"[=>]", each)[0] for project in lists for each in project["project"]["dependencies"]}
    assert (found.status, found.run_id, found.not_passing()) == (0, run_id, [])
    assert "6 params: all 5 values" in found.texts["parameters"]
    assert "data/penguins.csv is blake3:" in found.texts["data"]
    assert "gave the same 3 results: identical" in found.texts["seed"]
    assert "configs/reviewed.yaml with configs/base.yaml" in found.texts["config"]
    assert f"pins all {len(names)} dependencies of pyproject.toml and {MACHINERY}" in found.texts["requirements"]
    assert "clean" in found.texts["commit"] and "pushed: in origin/main" in found.texts["commit"]


def test_two_runs_from_the_same_inputs_are_reproductions_of_each_other(workbench: ReviewWorkbench, run_id: str) -> None:
    second = workbench.train()
    found = workbench.ask("--run", second)
    assert found.not_passing() == []
    assert f"to promote its model: repro reproduce {second[:8]}" in found.texts["seed"]
    assert "to promote" not in workbench.ask("--run", run_id).texts["seed"]


def test_without_a_run_it_says_how_to_make_one(workbench: ReviewWorkbench, run_id: str, tmp_path: Path) -> None:
    nowhere = workbench.ask(env=store_at(tmp_path / "empty.db"))
    assert (nowhere.status, nowhere.run_id) == (1, None)
    assert "make one: nox -s train" in nowhere.texts["commit"]
    with workbench.edited_store(tmp_path, "UPDATE runs SET status = 'FAILED'") as store:
        found = workbench.ask(env=store)
    assert (found.status, found.run_id) == (1, None)
    assert "has no finished run of commit" in found.texts["commit"]
    assert "nox -s train" in found.texts["commit"]
    assert "dependencies of pyproject.toml" in found.texts["requirements"]


def test_with_an_unreachable_store_every_item_is_unknown(workbench: ReviewWorkbench) -> None:
    found = workbench.ask(env={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    assert found.status == 2
    assert "nothing answers there" in found.texts["commit"]
    assert set(found.states.values()) == {"unknown"}


def test_what_cannot_be_read_is_unknown(workbench: ReviewWorkbench, run_id: str, tmp_path: Path) -> None:
    for sign, unknown in (("=", KEYS), ("!=", ["seed"])):
        statement = f"UPDATE runs SET artifact_uri = 's3://nowhere/run' WHERE run_uuid {sign} '{run_id}'"  # noqa: S608
        with workbench.edited_store(tmp_path, statement) as store:
            found = workbench.ask("--run", run_id, env=store)
        (tmp_path / "edited.db").unlink()
        assert (found.status, found.not_passing()) == (2, unknown)
        assert set(found.states.values()) <= {"passes", "unknown"}
        assert "its evidence cannot be read" in found.texts["commit" if sign == "=" else "seed"]


def test_an_id_that_is_none_is_refused(workbench: ReviewWorkbench, run_id: str) -> None:
    assert "has no run" in workbench.refused("--run", "f" * 32)
    assert "no such" in workbench.refused("--event", "nowhere.json").lower()
    assert "--event" in workbench.refused("--event", "")
    for content in ("[]", '{"pull_request": [1], "after": {"x": 1}, "schedule": 5}', "no json"):
        event = workbench.write(".cache/event.json", content)
        assert "--event" in workbench.refused("--event", str(event))


# What somebody did to the run in the store: {name: (statement, the item, what it says)}.
ALTERED = {
    "missing": ("DELETE FROM params WHERE key = 'rate' AND run_uuid = '{run}'", "parameters", "not in the run: rate"),
    "changed": (
        "UPDATE params SET value = '2' WHERE key = 'rate' AND run_uuid = '{run}'",
        "parameters",
        "param rate: is 2 in the run and 1",
    ),
    "cut": (
        "UPDATE params SET value = 'data/peng' WHERE key = 'data.path' AND run_uuid = '{run}'",
        "parameters",
        "param data.path: was cut",
    ),
    "extra": (
        "INSERT INTO params (key, value, run_uuid) VALUES ('extra', '1', '{run}')",
        "parameters",
        "no reproduction shows that the code logs them: extra",
    ),
    "another last value": (
        "UPDATE latest_metrics SET value = 7.5 WHERE key = 'loss' AND run_uuid = '{run}'",
        "seed",
        "metric loss is 7.5 and",
    ),
    "inside itself": (
        "INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.parentRunId', '{run}', '{run}')",
        "commit",
        "somebody altered its tags",
    ),
    "inside nothing": (
        "INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.parentRunId', 'nowhere', '{run}')",
        "commit",
        "has no run 'nowhere'",
    ),
    "a quote": (
        "UPDATE tags SET value = 'x'' OR 1=1' WHERE key = 'data_version' AND run_uuid = '{run}'",
        "data",
        "the run's tag is x' OR 1=1, its manifest says",
    ),
    "no dataset": ("DELETE FROM inputs WHERE destination_id = '{run}'", "data", "the run's dataset input is missing"),
    "forged commit": (
        "UPDATE tags SET value = '" + "f" * 40 + "' WHERE key = 'git_commit' AND run_uuid = '{run}'",
        "commit",
        "ffffffffffff",
    ),
}


@pytest.mark.parametrize("altered", ALTERED)
def test_a_run_that_somebody_altered_is_seen(
    workbench: ReviewWorkbench, run_id: str, altered: str, tmp_path: Path
) -> None:
    statement, key, said = ALTERED[altered]
    with workbench.edited_store(tmp_path, statement.format(run=run_id)) as store:
        found = workbench.ask("--run", run_id, env=store)
    assert found.status == 1
    assert key in found.not_passing()
    assert said in found.texts[key]
    if altered in ("missing", "changed", "cut"):
        assert "all 5 values" not in found.texts["parameters"]


def test_params_that_the_code_logs_are_explained_by_a_reproduction(workbench: ReviewWorkbench, run_id: str) -> None:
    own = workbench.train("configs/logs.yaml")
    alone = workbench.ask("--run", own)
    assert alone.not_passing() == ["parameters", "seed"]
    assert "no reproduction shows that the code logs them: learned" in alone.texts["parameters"]
    reproduced = workbench.ask("--run", own, "--prove")
    assert reproduced.not_passing() == []
    assert "1 more come from the code" in reproduced.texts["parameters"]


def test_a_seed_that_does_not_reach_everything_is_seen(workbench: ReviewWorkbench, run_id: str) -> None:
    found = workbench.ask("--run", workbench.train("configs/chance.yaml"), "--prove")
    assert found.not_passing() == ["seed"]
    assert "metric loss at step 1" in found.texts["seed"]


def test_data_that_differs_now_is_named(workbench: ReviewWorkbench, run_id: str) -> None:
    with workbench.restored():
        workbench.write("data/penguins.csv", workbench.path.joinpath("data/penguins.csv").read_text("utf-8") + "\n")
        found = workbench.ask("--run", run_id)
    assert found.not_passing() == ["data", "commit"]
    assert "changed: data/penguins.csv" in found.texts["data"]


def test_a_config_that_is_not_the_committed_one_is_seen(workbench: ReviewWorkbench, run_id: str) -> None:
    with workbench.restored():
        workbench.write("configs/reviewed.yaml", CONFIG.replace("1", "2"))
        edited = workbench.ask("--run", run_id)
        tried = workbench.train()
        dirty = workbench.ask("--run", tried)
    assert edited.not_passing() == ["config", "commit"]
    assert "configs/reviewed.yaml: differs from the commit" in edited.texts["config"]
    assert "rate is 1 in the file at the run's commit, and 2.0 in the run" in dirty.texts["config"]
    assert "made from uncommitted changes" in dirty.texts["commit"]


def test_a_value_from_the_command_line_is_in_no_file(workbench: ReviewWorkbench, run_id: str) -> None:
    found = workbench.ask("--run", workbench.train("configs/reviewed.yaml", "--set", "rate=3"))
    assert found.not_passing() == ["seed", "config"]  # nobody has reproduced it
    assert "started with --set rate=3" in found.texts["config"]


# What somebody did to the lists of packages: {name: (file, before, after, what it says)}; None where all is well.
REQUIREMENTS = {
    "asked for and not locked": ("pyproject.toml", '"pandas"', '"pandas", "polars>=1"', "asks for polars>=1, which"),
    "asked for in another version": (
        MACHINERY,
        '"rich"',
        '"rich>=999"',
        f"{MACHINERY} asks for rich>=999, and it pins",
    ),
    "not asked for any more": (MACHINERY, '    "blake3",\n', "", f"blake3 was taken out of {MACHINERY} since"),
    "an extra that is not locked": (
        "pyproject.toml",
        '"pandas"',
        '"pandas[excel]"',
        "pyproject.toml asks for pandas[excel], but requirements.txt does not pin ",
    ),
    "asked for as locked": (MACHINERY, '"rich"', '"rich>=1"', None),
    "still needed by another": ("pyproject.toml", '    "pandas",\n', "", None),
    "without a hash": (
        "requirements.txt",
        re.compile(r"(rich==\S+) \\\n(?:    --hash=\S+(?: \\)?\n)+"),
        r"\1\n",
        "no hash",
    ),
    "not what is installed": ("requirements.txt", re.compile(r"rich==\S+"), "rich==1.0.0", "the lock says 1.0.0"),
}


@pytest.mark.parametrize("change", REQUIREMENTS)
def test_requirements_that_do_not_fit_together_are_seen(workbench: ReviewWorkbench, run_id: str, change: str) -> None:
    file, before, after, said = REQUIREMENTS[change]
    with workbench.restored():
        text = workbench.path.joinpath(file).read_text("utf-8")
        changed = text.replace(before, after) if isinstance(before, str) else before.sub(after, text)
        assert changed != text
        workbench.write(file, changed)
        workbench.commit()
        found = workbench.ask("--run", run_id, "--base", "origin/main")
    assert ("requirements" in found.not_passing()) == (said is not None), found.texts["requirements"]
    assert (said or "and the same pins meet them") in found.texts["requirements"]


# What the commit before the branch has: {name: (file, content)}; None deletes the file.
BEFORE_JOINING = {
    "no lock": ("requirements.txt", None),
    "no pins": ("requirements.txt", "pandas\n"),
    "no project": ("pyproject.toml", "[tool.black]\nline-length = 120\n"),
    "no TOML": ("pyproject.toml", "[project\n"),
    "an older policy": ("configs/base.yaml", "policy:\n  tolerance: strict\n"),
}


@pytest.mark.parametrize("before", BEFORE_JOINING)
def test_the_commit_before_a_branch_can_be_anything(workbench: ReviewWorkbench, run_id: str, before: str) -> None:
    file, content = BEFORE_JOINING[before]
    with workbench.restored():
        workbench.edit(MACHINERY, '"rich"', '"rich>=1"')
        workbench.git("rm", "--quiet", file) if content is None else workbench.write(file, content)
        base = workbench.commit()
        workbench.git("checkout", "--quiet", "origin/main", "--", ".")
        workbench.commit()
        found = workbench.ask("--run", run_id, "--base", base)
    assert found.not_passing() == ["commit"]  # not pushed
    said = f"nothing comparable at {base[:12]}: pyproject.toml at " if file == "pyproject.toml" else base[:12]
    assert said in found.texts["requirements"]
    assert ("a tolerance that this branch brings" in found.texts["seed"]) == (before == "an older policy")


def test_a_comment_is_no_other_lock(workbench: ReviewWorkbench, run_id: str) -> None:
    with workbench.restored():
        workbench.edit(MACHINERY, '    "blake3",\n', "")
        workbench.write(
            "requirements.txt", "# a comment\n" + workbench.path.joinpath("requirements.txt").read_text("utf-8")
        )
        workbench.commit()
        found = workbench.ask("--run", run_id, "--base", "origin/main")
    assert f"blake3 was taken out of {MACHINERY} since" in found.texts["requirements"]


def test_a_branch_cannot_quietly_change_what_it_is_judged_by(workbench: ReviewWorkbench, run_id: str) -> None:
    with workbench.restored():
        workbench.edit("configs/base.yaml", 'not_compared: ["system/*"]', 'not_compared: ["*"]')
        workbench.commit()
        workbench.train()
        found = workbench.ask("--run", workbench.train(), "--base", "origin/main")
    assert "seed" in found.not_passing()
    assert "shows nothing: no metric, file or model is compared" in found.texts["seed"]
    assert "a tolerance that this branch changes: not_compared ['system/*'] → ['*']" in found.texts["seed"]


def test_a_base_that_is_not_here_is_unknown(workbench: ReviewWorkbench, run_id: str) -> None:
    found = workbench.ask("--run", run_id, "--base", "origin/nothing")
    assert (found.status, found.not_passing()) == (2, ["requirements"])
    assert "git fetch origin" in found.texts["requirements"]


def test_a_later_commit_that_changed_nothing_of_the_run_has_it_too(workbench: ReviewWorkbench, run_id: str) -> None:
    with workbench.restored():
        for name in ("NOTES.md", "compose.yaml", "tests/test_more.py"):
            workbench.write(name, "# about something else\n")
        workbench.commit()
        later = workbench.ask()
        for name in ("configs/other.yaml", "packages/reproducibility/README.md", "settings/boost.txt"):
            workbench.write(name, CONFIG)
        workbench.commit()
        changed = workbench.ask("--run", run_id)
        none = workbench.ask()
    assert later.run_id is not None and "commit" in later.not_passing()  # not pushed
    assert "nothing that it was made from changed since" in later.texts["commit"]
    assert "git push origin HEAD" in later.texts["commit"]
    names = "configs/other.yaml, packages/reproducibility/README.md, settings/boost.txt"
    assert f"since then changed: {names}" in changed.texts["commit"]
    assert none.run_id is None


def test_a_detached_head_and_a_merge_commit_are_commits_like_others(
    workbench: ReviewWorkbench, run_id: str, tmp_path: Path
) -> None:
    with workbench.restored():
        workbench.git("checkout", "--quiet", "--detach")
        assert workbench.ask("--run", run_id).not_passing() == []
    clone = workbench.clone(tmp_path / "clone")
    clone.git("checkout", "--quiet", "-b", "side")
    clone.write("NOTES.md", "aside\n")
    clone.commit()
    clone.git("checkout", "--quiet", "main")
    clone.git("merge", "--quiet", "--no-ff", "--message=Together", "side")
    clone.git("push", "--quiet", "origin", "main:merged")
    assert clone.ask("--run", run_id).not_passing() == []


def test_a_shallow_clone_says_how_to_make_it_deep(workbench: ReviewWorkbench, run_id: str, tmp_path: Path) -> None:
    with workbench.restored():
        workbench.write("NOTES.md", "about something else\n")
        workbench.commit()
        workbench.git("push", "--quiet", "origin", "HEAD:later")
    shallow = workbench.clone(tmp_path / "shallow", "--depth=1", "--branch=later")
    found = shallow.ask("--run", run_id)
    assert found.states["commit"] == "unknown"
    assert "git fetch --unshallow" in found.texts["commit"]
    assert (found.status, found.states["config"]) == (2, "unknown")
    by_itself = shallow.ask()
    assert (by_itself.status, by_itself.run_id) == (2, None)
    assert "the clone is too shallow" in by_itself.texts["commit"]


def event(path: Path, **request: object) -> str:
    path.write_text(json.dumps({"pull_request": request}), encoding="utf-8")
    return str(path)


def test_a_pull_request_names_run_head_and_base(workbench: ReviewWorkbench, run_id: str, tmp_path: Path) -> None:
    head = workbench.git("rev-parse", "HEAD")
    body = f"Faster.\r\n<!-- Run: {'0' * 32} -->\r\n- **Run:** `{run_id}`\r\n"
    found = workbench.ask("--event", event(tmp_path / "e.json", body=body, head={"sha": head}, base={"sha": head}))
    assert (found.status, found.run_id) == (0, run_id)
    assert "on GitHub, as its event says" in found.texts["commit"]
    assert f"the dependencies are those of {head[:12]}" in found.texts["requirements"]
    other = workbench.ask("--event", event(tmp_path / "o.json", body=body, head={"sha": "e" * 40}))
    assert f"eeeeeeeeeeee is under review, and {head[:12]} is checked out" in other.texts["commit"]


def test_what_else_starts_a_workflow_is_understood(workbench: ReviewWorkbench, run_id: str, tmp_path: Path) -> None:
    head = workbench.git("rev-parse", "HEAD")
    group = {"head_sha": head, "base_sha": head, "head_ref": "refs/heads/gh-readonly-queue/main/pr-7"}
    by_hand = {"inputs": {"run": run_id}, "ref": "refs/heads/main"}
    events = {
        "merge queue": ({"action": "checks_requested", "merge_group": group}, "on GitHub, as its event says"),
        "push": ({"after": head, "before": "0" * 40}, "on GitHub, as its event says"),
        "schedule": ({"schedule": "23 5 * * 1"}, "pushed: in origin/"),
        "by hand": ({"inputs": None, "ref": "refs/heads/main"}, "pushed: in origin/"),
        "by hand, for a run": (by_hand, "pushed: in origin/"),
    }
    newest = workbench.ask()  # where an event names no run
    for name, (content, published) in events.items():
        file = workbench.write(".cache/event.json", json.dumps(content))
        found = workbench.ask("--event", str(file))
        expected = (0, run_id) if content == by_hand else (newest.status, newest.run_id)
        assert (found.status, found.run_id) == expected, name
        assert published in found.texts["commit"], name
    file = workbench.write(".cache/event.json", json.dumps({"inputs": {"run": "$(touch pwned)"}}))
    found = workbench.ask("--event", str(file))
    assert (found.status, found.run_id) == (1, None)
    assert "the input `run` of the workflow names" in found.texts["commit"]


def test_a_merge_request_of_gitlab_names_run_head_and_base(workbench: ReviewWorkbench, run_id: str) -> None:
    head = workbench.git("rev-parse", "HEAD")
    gitlab = {"CI_MERGE_REQUEST_IID": "7", "CI_COMMIT_SHA": head, "CI_MERGE_REQUEST_DIFF_BASE_SHA": head}
    gitlab |= {"CI_MERGE_REQUEST_DESCRIPTION": f"Faster.\n\n**Run:** `{run_id}`\n"}
    found = workbench.ask("--merge-request", env=gitlab)
    assert (found.status, found.run_id) == (0, run_id)
    assert "as its event says" in found.texts["commit"]
    assert f"the dependencies are those of {head[:12]}" in found.texts["requirements"]
    # A pipeline of merged results: the commit that GitLab made up is not the one under review.
    merged = gitlab | {"CI_COMMIT_SHA": "e" * 40, "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": head}
    assert workbench.ask("--merge-request", env=merged).status == 0
    nameless = workbench.ask("--merge-request", env=gitlab | {"CI_MERGE_REQUEST_DESCRIPTION": "Run: last"})
    assert (nameless.status, nameless.run_id) == (1, None)
    assert "no pipeline of a merge request" in workbench.refused("--merge-request")


@pytest.mark.parametrize(
    ("text", "said"),
    {
        "": "names no run",
        "Run: \n": "names no run",
        "Run: $(touch pwned); `touch pwned` | ' \" && exit 0": "is no run id",
        "Run: last": "is no run id",
        f"Run: {'a' * 32}\nRun: {'b' * 32}": "names 2 runs",
        "Run: x" + " " * 65_000 + "x" + "<!--" * 20_000: "is no run id",
    }.items(),
)
def test_a_pull_request_that_names_no_run_is_refused(text: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        named_run(text)


def test_what_a_pull_request_says_is_only_text(workbench: ReviewWorkbench, run_id: str, tmp_path: Path) -> None:
    bodies = {
        None: "names no run",
        "Run: $(touch pwned); `touch pwned`": "is no run id",
        f"Run: {'a' * 32}": "has no run",
    }
    for body, said in bodies.items():
        found = workbench.ask("--event", event(tmp_path / "event.json", body=body))
        assert (found.status, found.run_id) == (1, None)
        assert said in found.texts["commit"]
    assert not (workbench.path / "pwned").exists()


def test_a_run_in_an_experiment_that_its_config_does_not_name_is_seen(
    workbench: ReviewWorkbench, run_id: str, tmp_path: Path
) -> None:
    statement = "UPDATE experiments SET name = 'somebody else''s' WHERE name = 'penguin-classifier'"
    with workbench.edited_store(tmp_path, statement) as store:
        found = workbench.ask("--run", run_id, env=store)
    assert "config" in found.not_passing()
    assert 'in the experiment "somebody else\'s"' in found.texts["config"]


def test_markdown_and_picture_say_the_same_and_hold_nothing_foreign(
    workbench: ReviewWorkbench, run_id: str, tmp_path: Path
) -> None:
    picture = tmp_path / "pictures" / "checklist.svg"
    with workbench.restored():
        workbench.write("<b>|x`.md", "hostile\n")
        done = workbench.run("repro", "checklist", "--markdown", "--svg", str(picture), env=workbench.store_env)
    assert done.returncode == 1
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert [len(row.split("|")) for row in rows] == [6] * 6
    assert "&lt;b&gt;&#124;x&#96;.md" in rows[-1] and rows[-1].startswith("| ❌ | **Commit** |")
    drawn = picture.read_text("utf-8")
    assert "Random" in drawn and not re.search(r"url\((?!#)|@import|href", drawn)
    rmtree(picture.parent)


def test_text_from_the_store_forges_no_line_and_controls_no_terminal(
    workbench: ReviewWorkbench, run_id: str, tmp_path: Path
) -> None:
    forged = "'x' || char(13, 10, 10) || 'all 6 items pass' || char(10, 27) || '[2J' || char(8238)"
    tag = f"INSERT INTO tags (key, value, run_uuid) VALUES ('failure', {forged}, '{run_id}')"  # noqa: S608
    name = f"UPDATE experiments SET name = {forged} WHERE name = 'penguin-classifier'"  # noqa: S608
    picture = tmp_path / "checklist.svg"
    commands = {
        "markdown": ["checklist", "--run", run_id, "--markdown", "--svg", str(picture)],
        "table": ["checklist", "--run", run_id],
        "validate": ["validate", run_id],
        "reproduce": ["reproduce", run_id],
        "audit": ["audit"],
    }
    with workbench.edited_store(tmp_path, tag, name) as store:
        answers = workbench.repro_each(commands, env=store)
    for answer in answers.values():
        assert "all 6 items pass" in answer.stdout + answer.stderr
        assert not any(character in answer.stdout + answer.stderr for character in "\r\x1b\u202e")
    lines = answers["markdown"].stdout.splitlines()
    assert all(line.startswith("|") for line in lines[4:] if line)
    assert [len(row.split("|")) for row in lines[6:]] == [6] * 6
    assert [line for line in answers["reproduce"].stderr.splitlines() if line.startswith("all 6")] == []
    assert "\x1b" not in picture.read_text("utf-8")


def test_the_table_is_for_people(workbench: ReviewWorkbench, run_id: str) -> None:
    done = workbench.run("repro", "checklist", "--run", run_id, env=workbench.store_env | {"COLUMNS": "100"})
    assert done.returncode == 0
    assert done.stdout.count("✓") == 6
    assert "all 6 items pass" in done.stdout
    ascii_only = workbench.run("repro", "checklist", env=workbench.store_env | {"PYTHONIOENCODING": "ascii:replace"})
    assert "│ ok │" in ascii_only.stdout or "| ok |" in ascii_only.stdout
