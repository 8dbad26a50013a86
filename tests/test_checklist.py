"""The checklist: holds for a run that deserves it; break one thing and the item that is about it says so."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import copytree, rmtree
from subprocess import CompletedProcess
from typing import NamedTuple

import pytest
from workbench import Workbench, store_at

KEYS = ["parameters", "data", "seed", "config", "requirements", "commit"]
# Learns nothing in a moment. With the quirk its second step is drawn from no seed.
TINY = '''
"""A tiny experiment."""
import os, random
import mlflow
from reproducibility import Config, Section, experiment_command, tracked_run

class Data(Section):
    path: str

class Tiny(Config):
    experiment_name: str
    seed: int
    data: Data
    rate: float
    quirk: str

def run_experiment(config: Tiny) -> str:
    """A tiny experiment."""
    with tracked_run(config) as run:
        for step in range(3):
            chance = os.urandom(4)[0] / 7 + 1 if config.quirk == "chance" and step == 1 else 0
            mlflow.log_metric("loss", random.random() * config.rate + chance, step=step)
        if config.quirk == "logs a param":
            mlflow.log_param("learned", "7")
    return run.info.run_id

if __name__ == "__main__":
    experiment_command(Tiny, run_experiment)()
'''
CONFIG = "extends: base.yaml\nrate: 1\nquirk: none\n"


class Answer(NamedTuple):
    """What the checklist says: its exit status, and each item's state and text."""

    status: int
    run_id: str | None
    states: dict[str, str]
    texts: dict[str, str]

    def not_holding(self) -> list[str]:
        return [key for key, state in self.states.items() if state != "holds"]


class Desk(Workbench):
    """A project under review: a repository with a remote, and runs in a store."""

    store_env: dict[str, str]

    def train(self, config: str = "configs/tiny.yaml", *options: str) -> str:
        done = self.run("python", "scripts/tiny.py", "--config", config, "--json", *options, env=self.store_env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["run_id"]

    def ask(self, *options: str, env: dict[str, str] | None = None) -> Answer:
        done = self.run("repro", "checklist", "--json", *options, env=self.store_env | (env or {}), timeout=600)
        assert done.stdout, done.stderr
        assert "Traceback" not in done.stderr
        told = json.loads(done.stdout)
        texts = {
            item["key"]: "\n".join(
                [
                    *item["evidence"],
                    *(f"{each['key']}: {each['problem']} -> {each['fix']}" for each in item["problems"]),
                ]
            )
            for item in told["items"]
        }
        assert list(texts) == KEYS
        return Answer(done.returncode, told["run_id"], {each["key"]: each["state"] for each in told["items"]}, texts)

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
        """Whatever the block does to the work tree and to the branch is taken back."""
        head = self.git("rev-parse", "HEAD")
        try:
            yield
        finally:
            self.git("checkout", "--quiet", "--force", "main")
            self.git("reset", "--quiet", "--hard", head)
            self.git("clean", "--quiet", "--force", "-d")

    def clone(self, path: Path, *options: str) -> "Desk":
        self.git("clone", "--quiet", *options, self.git("remote", "get-url", "origin"), str(path))
        cloned = Desk(self._run_in, path)
        cloned.store_env = self.store_env
        cloned.git("config", "user.name", "Ada")
        cloned.git("config", "user.email", "ada@example.com")
        return cloned

    @contextmanager
    def edited_store(self, tmp_path: Path, *statements: str) -> Iterator[dict[str, str]]:
        """The variables of a store in which somebody changed something behind MLflow's back."""
        with closing(sqlite3.connect(self.store)) as kept, closing(sqlite3.connect(tmp_path / "edited.db")) as edited:
            kept.backup(edited)
            for statement in statements:
                assert edited.execute(statement).rowcount
            edited.commit()
        yield store_at(tmp_path / "edited.db")


@pytest.fixture(scope="module")
def desk(run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("review")
    desk = Desk(run_in, Path(copytree(project, folder / project.name)))
    desk.store_env = store_at(desk.store)
    desk.write("scripts/tiny.py", TINY)
    desk.write("configs/tiny.yaml", CONFIG)
    desk.write("configs/chance.yaml", CONFIG.replace("none", "chance"))
    desk.write("configs/logs.yaml", CONFIG.replace("none", "logs a param"))
    desk.git("branch", "--quiet", "--move", "main")
    desk.git("init", "--quiet", "--bare", "--initial-branch=main", str(folder / "remote.git"))
    desk.git("remote", "add", "origin", (folder / "remote.git").as_uri())
    desk.push()
    return desk


@pytest.fixture(scope="module")
def run_id(desk: Desk) -> str:
    """A run that deserves it, and that was made again."""
    run_id = desk.train()
    proved = desk.ask("--prove")
    assert (proved.status, proved.run_id) == (0, run_id), proved.texts
    return run_id


def test_a_run_that_was_made_again_holds_and_is_found_by_itself(desk: Desk, run_id: str) -> None:
    found = desk.ask()
    assert (found.status, found.run_id, found.not_holding()) == (0, run_id, [])
    assert "6 params: all 5 values" in found.texts["parameters"]
    assert "data/penguins.csv is blake3:" in found.texts["data"]
    assert "gave the same 3 results: identical" in found.texts["seed"]
    assert "configs/tiny.yaml with configs/base.yaml" in found.texts["config"]
    assert "pins all 15 dependencies" in found.texts["requirements"]
    assert "clean" in found.texts["commit"] and "pushed: in origin/main" in found.texts["commit"]


def test_two_runs_from_the_same_prove_each_other(desk: Desk, run_id: str) -> None:
    second = desk.train()
    assert desk.ask("--run", second).not_holding() == []


def test_without_a_run_it_says_how_to_make_one(desk: Desk, run_id: str, tmp_path: Path) -> None:
    nowhere = desk.ask(env=store_at(tmp_path / "empty.db"))
    assert (nowhere.status, nowhere.run_id) == (1, None)
    assert "make one: nox -s train" in nowhere.texts["commit"]
    with desk.edited_store(tmp_path, "UPDATE runs SET status = 'FAILED'") as store:
        found = desk.ask(env=store)
    assert (found.status, found.run_id) == (1, None)
    assert "has no finished run of commit" in found.texts["commit"]
    assert "nox -s train" in found.texts["commit"]
    assert "pins all 15 dependencies" in found.texts["requirements"]


def test_with_the_store_away_it_cannot_be_told(desk: Desk) -> None:
    found = desk.ask(env={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    assert found.status == 2
    assert "nothing answers there" in found.texts["commit"]
    assert set(found.states.values()) == {"could not be told"}


def test_an_id_that_is_none_is_refused(desk: Desk, run_id: str) -> None:
    assert "has no run" in desk.refused("--run", "f" * 32)
    assert "no such" in desk.refused("--event", "nowhere.json").lower()
    assert "--event" in desk.refused("--event", "")
    for told in ("[]", '{"pull_request": [1], "after": {"x": 1}}', "no json"):
        event = desk.write(".cache/event.json", told)
        assert "--event" in desk.refused("--event", str(event))


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
        "no second run shows that the code logs them: extra",
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
def test_a_run_that_somebody_altered_is_seen(desk: Desk, run_id: str, altered: str, tmp_path: Path) -> None:
    statement, key, said = ALTERED[altered]
    with desk.edited_store(tmp_path, statement.format(run=run_id)) as store:
        found = desk.ask("--run", run_id, env=store)
    assert found.status == 1
    assert key in found.not_holding()
    assert said in found.texts[key]


def test_params_that_the_code_logs_are_explained_by_a_second_run(desk: Desk, run_id: str) -> None:
    own = desk.train("configs/logs.yaml")
    alone = desk.ask("--run", own)
    assert alone.not_holding() == ["parameters", "seed"]
    assert "no second run shows that the code logs them: learned" in alone.texts["parameters"]
    proved = desk.ask("--run", own, "--prove")
    assert proved.not_holding() == []
    assert "1 more come from the code" in proved.texts["parameters"]


def test_a_seed_that_does_not_reach_everything_is_seen(desk: Desk, run_id: str) -> None:
    found = desk.ask("--run", desk.train("configs/chance.yaml"), "--prove")
    assert found.not_holding() == ["seed"]
    assert "metric loss at step 1" in found.texts["seed"]


def test_data_that_differs_now_is_named(desk: Desk, run_id: str) -> None:
    with desk.restored():
        desk.write("data/penguins.csv", desk.path.joinpath("data/penguins.csv").read_text("utf-8") + "\n")
        found = desk.ask("--run", run_id)
    assert found.not_holding() == ["data", "commit"]
    assert "changed: data/penguins.csv" in found.texts["data"]


def test_a_config_that_is_not_the_committed_one_is_seen(desk: Desk, run_id: str) -> None:
    with desk.restored():
        desk.write("configs/tiny.yaml", CONFIG.replace("1", "2"))
        edited = desk.ask("--run", run_id)
        tried = desk.train()
        dirty = desk.ask("--run", tried)
    assert edited.not_holding() == ["config", "commit"]
    assert "configs/tiny.yaml: differs from the commit" in edited.texts["config"]
    assert "rate is 1 in the file at the run's commit, and 2.0 in the run" in dirty.texts["config"]
    assert "made from uncommitted changes" in dirty.texts["commit"]


def test_a_value_from_the_command_line_is_in_no_file(desk: Desk, run_id: str) -> None:
    found = desk.ask("--run", desk.train("configs/tiny.yaml", "--set", "rate=3"), "--prove")
    assert found.not_holding() == ["config"]
    assert "started with --set rate=3" in found.texts["config"]


# What somebody did to the lists of packages: {name: (file, before, after, what it says)}; None where all is well.
REQUIREMENTS = {
    "asked for and not locked": (
        "pyproject.toml",
        '    "rich",',
        '    "rich",\n    "polars>=1",',
        "asks for polars>=1",
    ),
    "asked for in another version": ("pyproject.toml", '"rich"', '"rich>=999"', "asks for rich>=999, and it pins"),
    "not asked for any more": ("pyproject.toml", '    "blake3",\n', "", "blake3 was taken out of pyproject.toml since"),
    "an extra that is not locked": (
        "pyproject.toml",
        '"pandas"',
        '"pandas[excel]"',
        "asks for pandas[excel], which needs",
    ),
    "asked for as locked": ("pyproject.toml", '"rich"', '"rich>=1"', None),
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
def test_requirements_that_do_not_fit_together_are_seen(desk: Desk, run_id: str, change: str) -> None:
    file, before, after, said = REQUIREMENTS[change]
    with desk.restored():
        text = desk.path.joinpath(file).read_text("utf-8")
        changed = text.replace(before, after) if isinstance(before, str) else before.sub(after, text)
        assert changed != text
        desk.write(file, changed)
        desk.commit()
        found = desk.ask("--run", run_id, "--base", "origin/main")
    assert ("requirements" in found.not_holding()) == (said is not None), found.texts["requirements"]
    assert (said or "and the same pins meet them") in found.texts["requirements"]


def test_a_comment_is_no_other_lock(desk: Desk, run_id: str) -> None:
    with desk.restored():
        desk.edit("pyproject.toml", '    "blake3",\n', "")
        desk.write("requirements.txt", "# a comment\n" + desk.path.joinpath("requirements.txt").read_text("utf-8"))
        desk.commit()
        found = desk.ask("--run", run_id, "--base", "origin/main")
    assert "blake3 was taken out of pyproject.toml since" in found.texts["requirements"]


def test_a_branch_cannot_quietly_change_what_it_is_judged_by(desk: Desk, run_id: str) -> None:
    with desk.restored():
        desk.edit("configs/base.yaml", 'not_compared: ["system/*"]', 'not_compared: ["*"]')
        desk.commit()
        desk.train()
        found = desk.ask("--run", desk.train(), "--base", "origin/main")
    assert "seed" in found.not_holding()
    assert "says nothing: no metric, file or model is compared" in found.texts["seed"]
    assert "a tolerance that this branch changes: not_compared ['system/*'] → ['*']" in found.texts["seed"]


def test_a_base_that_is_not_here_cannot_be_told(desk: Desk, run_id: str) -> None:
    found = desk.ask("--run", run_id, "--base", "origin/nothing")
    assert (found.status, found.not_holding()) == (2, ["requirements"])
    assert "git fetch origin" in found.texts["requirements"]


def test_a_later_commit_that_changed_nothing_of_the_run_has_it_too(desk: Desk, run_id: str) -> None:
    with desk.restored():
        desk.write("NOTES.md", "about something else\n")
        desk.commit()
        later = desk.ask()
        desk.write("configs/other.yaml", CONFIG)
        desk.commit()
        changed = desk.ask("--run", run_id)
        none = desk.ask()
    assert later.run_id is not None and "commit" in later.not_holding()  # not pushed
    assert "nothing that it was made from changed since" in later.texts["commit"]
    assert "git push origin HEAD" in later.texts["commit"]
    assert "since then changed: configs/other.yaml" in changed.texts["commit"]
    assert none.run_id is None
    with desk.restored():
        desk.write("settings/boost.txt", "read by somebody\n")
        desk.commit()
        assert "since then changed: settings/boost.txt" in desk.ask("--run", run_id).texts["commit"]


def test_a_detached_head_and_a_merge_commit_are_commits_like_others(desk: Desk, run_id: str, tmp_path: Path) -> None:
    with desk.restored():
        desk.git("checkout", "--quiet", "--detach")
        assert desk.ask("--run", run_id).not_holding() == []
    clone = desk.clone(tmp_path / "clone")
    clone.git("checkout", "--quiet", "-b", "side")
    clone.write("NOTES.md", "aside\n")
    clone.commit()
    clone.git("checkout", "--quiet", "main")
    clone.git("merge", "--quiet", "--no-ff", "--message=Together", "side")
    clone.git("push", "--quiet", "origin", "main:merged")
    assert clone.ask("--run", run_id).not_holding() == []


def test_a_shallow_clone_that_cannot_tell_says_so(desk: Desk, run_id: str, tmp_path: Path) -> None:
    with desk.restored():
        desk.write("NOTES.md", "about something else\n")
        desk.commit()
        desk.git("push", "--quiet", "origin", "HEAD:later")
    shallow = desk.clone(tmp_path / "shallow", "--depth=1", "--branch=later")
    found = shallow.ask("--run", run_id)
    assert found.states["commit"] == "could not be told"
    assert "git fetch --unshallow" in found.texts["commit"]
    assert (found.status, found.states["config"]) == (2, "could not be told")
    by_itself = shallow.ask()
    assert (by_itself.status, by_itself.run_id) == (2, None)
    assert "the clone is too shallow" in by_itself.texts["commit"]


def event(path: Path, **request: object) -> str:
    path.write_text(json.dumps({"pull_request": request}), encoding="utf-8")
    return str(path)


def test_a_pull_request_names_run_head_and_base(desk: Desk, run_id: str, tmp_path: Path) -> None:
    head = desk.git("rev-parse", "HEAD")
    body = f"Faster.\r\n<!-- Run: {'0' * 32} -->\r\n- **Run:** `{run_id}`\r\n"
    found = desk.ask("--event", event(tmp_path / "e.json", body=body, head={"sha": head}, base={"sha": head}))
    assert (found.status, found.run_id) == (0, run_id)
    assert "on GitHub, as its event says" in found.texts["commit"]
    assert f"the dependencies are those of {head[:12]}" in found.texts["requirements"]
    other = desk.ask("--event", event(tmp_path / "o.json", body=body, head={"sha": "e" * 40}))
    assert f"eeeeeeeeeeee is under review, and {head[:12]} is checked out" in other.texts["commit"]


@pytest.mark.parametrize(
    ("body", "said"),
    {
        "": "names no run",
        None: "names no run",
        "Run: \n": "names no run",
        "Run: $(touch pwned); `touch pwned` | ' \" && exit 0": "is no run id",
        "Run: last": "is no run id",
        f"Run: {'a' * 32}\nRun: {'b' * 32}": "names 2 runs",
        "Run: x" + " " * 65_000 + "x" + "<!--" * 20_000: "is no run id",
        f"Run: {'a' * 32}": "has no run",
    }.items(),
)
def test_what_a_pull_request_says_is_only_text(
    desk: Desk, run_id: str, body: str | None, said: str, tmp_path: Path
) -> None:
    found = desk.ask("--event", event(tmp_path / "event.json", body=body))
    assert (found.status, found.run_id) == (1, None)
    assert said in found.texts["commit"]
    assert not (desk.path / "pwned").exists()


def test_a_run_in_an_experiment_that_its_config_does_not_name_is_seen(desk: Desk, run_id: str, tmp_path: Path) -> None:
    statement = "UPDATE experiments SET name = 'somebody else''s' WHERE name = 'penguin-classifier'"
    with desk.edited_store(tmp_path, statement) as store:
        found = desk.ask("--run", run_id, env=store)
    assert "config" in found.not_holding()
    assert 'in the experiment "somebody else\'s"' in found.texts["config"]


def test_markdown_and_picture_say_the_same_and_hold_nothing_foreign(desk: Desk, run_id: str, tmp_path: Path) -> None:
    picture = tmp_path / "pictures" / "checklist.svg"
    with desk.restored():
        desk.write("<b>|x`.md", "hostile\n")
        done = desk.run("repro", "checklist", "--markdown", "--svg", str(picture), env=desk.store_env)
    assert done.returncode == 1
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert [len(row.split("|")) for row in rows] == [6] * 6
    assert "&lt;b&gt;&#124;x&#96;.md" in rows[-1] and rows[-1].startswith("| ❌ | **Commit** |")
    drawn = picture.read_text("utf-8")
    assert "Random" in drawn and not re.search(r"url\((?!#)|@import|href", drawn)
    rmtree(picture.parent)


def test_the_table_is_for_people(desk: Desk, run_id: str) -> None:
    done = desk.run(
        "repro", "checklist", "--run", run_id, env=desk.store_env | {"COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
    )
    assert done.returncode == 0
    assert done.stdout.count("✓") == 6
    assert "all 6 items hold" in done.stdout
    ascii_only = desk.run("repro", "checklist", env=desk.store_env | {"PYTHONIOENCODING": "ascii:replace"})
    assert "│ ok │" in ascii_only.stdout or "| ok |" in ascii_only.stdout
