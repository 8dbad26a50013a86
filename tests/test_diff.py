"""`repro diff`: of two real runs exactly what was changed between them is named, and nothing else."""

import json
import runpy
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen
from unittest.mock import Mock

import pytest
from conftest import code_of
from reproducibility.digest import canonical, digest
from tracking_server import TrackingServer
from workbench import SCRIPTS, Workbench

CONFIG = """\
experiment_name: workbench
seed: 1
data:
  path: data/penguins.csv
model:
  depth: 5
  name: forest
"""
# Runs as they were recorded before the numerics were.
OLD = ("old", "old too", "old and noisy")
# Runs whose record is altered afterwards. The evidence of BARE is removed, and so are its tags.
ALTERED = (
    *("a tag edited", "an artifact edited", "a lock edited", "a manifest edited", "a config removed"),
    *("a digest edited", "of tomorrow", "hostile", *OLD),
)
BARE = ("bare", "bare too", "set model.depth=8", "an option")
CHANGES = (
    "model.depth=6",
    "model.depth=5.0",
    'model.depth="5"',
    "model.depth=null",
    "seed=2",
    "experiment_name=others",
)
# What a page, a terminal, a table and a formula would each take for something else.
HOSTILE = '$\\frac{$ :smile: [red]bold[/red] \x1b[31m\u202e <script>alert("x")</script><img src=http://x/>'
PIN = "tinydist==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"


def package(folder: Path, version: str) -> Path:
    """A folder of packages in which tinydist is installed, as far as its description goes."""
    description = folder / f"tinydist-{version}" / f"tinydist-{version}.dist-info" / "METADATA"
    description.parent.mkdir(parents=True)
    description.write_text(f"Metadata-Version: 2.1\nName: tinydist\nVersion: {version}\n")
    return description.parents[1]


@contextmanager
def recorder(script: str, project: Path, python: Path, env: dict[str, str], log: Path) -> Iterator[Callable[..., None]]:
    """Start *script*; yield a function that makes it record runs by name, with a folder of packages on its path."""
    with log.open("w") as errors:
        streams = {"stdin": PIPE, "stdout": PIPE, "stderr": errors, "text": True}
        process = Popen([python, script], cwd=project, env=env, **streams)

    def record(packages: Path, *names: str) -> None:
        print(json.dumps([str(packages), names]), file=process.stdin, flush=True)
        for line in process.stdout:
            if line == "recorded\n":
                return
        assert "killed" in names[-1], log.read_text()

    with process:
        yield record
        process.stdin.close()
        assert process.wait(600) == 0, log.read_text()
    assert "Traceback" not in log.read_text(), log.read_text()


def make(workbench: Workbench, aside: Path, python: Path, env: dict[str, str]) -> None:
    """Record all runs, changing one thing at a time and putting it back."""
    git = workbench.git
    one, two = package(aside, "1.0"), package(aside, "2.0")
    start = partial(recorder, project=workbench.path, python=python, env=env)

    def keep() -> None:
        """Go back to the first commit, and keep the present one on a branch."""
        git("branch", f"kept-{git('rev-parse', '--short', 'HEAD')}")
        git("reset", "--quiet", "--hard", first)

    workbench.add("record_runs.py")
    workbench.write("configs/test.yaml", CONFIG)
    lock = workbench.write("requirements.txt", (workbench.path / "requirements.txt").read_text() + PIN)
    first = workbench.commit()
    remote = aside / "remote.git"
    git("clone", "--quiet", "--bare", ".", str(remote))
    git("remote", "add", "origin", remote.as_uri())

    for threads in ("1", "2"):
        own = env | {"OPENBLAS_NUM_THREADS": threads}
        with start("scripts/record_runs.py", env=own, log=aside / "threads.log") as record:
            record(one, f"{threads} threads", f"{threads} threads, noisy")

    with start("scripts/record_runs.py", log=aside / "record.log") as record:
        record(one, "base", "again", "noisy", "short raise", "learned", "learned otherwise", "sweep", *ALTERED, *BARE)
        record(one, *(f"set {change}" for change in CHANGES))

        workbench.edit("configs/test.yaml", "depth: 5", "depth: 7 # deeper")
        workbench.edit("README.md", "Every training run", "Each training run")
        workbench.commit()
        record(one, "config committed")
        keep()

        workbench.edit("configs/test.yaml", "depth: 5", "depth: 5 # deep")
        workbench.commit()
        record(one, "comment committed")
        keep()

        workbench.write("configs/prices.yaml", "apples: 3\n")
        record(one, "a file in configs that is no config")
        (workbench.path / "configs" / "prices.yaml").unlink()

        data = workbench.path / "data" / "penguins.csv"
        before = data.read_bytes()
        data.write_bytes(before[:-2] + b"x" + before[-1:])
        record(one, "data")
        data.write_bytes(before)

        lock.write_text(lock.read_text().replace("tinydist==1.0", "tinydist==2.0"))
        record(two, "package")
        workbench.edit("configs/base.yaml", "environment_drift: refuse", "environment_drift: record")
        record(one, "drift")
        git("checkout", "--quiet", ".")

        workbench.edit("scripts/record_runs.py", "FACTOR = 1.0", "FACTOR = 2.0")
        workbench.write("notes/plan.txt", "try two\n")
        record(one, "code uncommitted", "code uncommitted again", "a patch corrupted")
        git("add", "--all")
        git("commit", "--quiet", "--message=Twice as much <b>")
        record(one, "code committed")
        keep()

        shutil.copyfile(SCRIPTS / "record_runs.py", workbench.path / "scripts" / "other.py")
        workbench.commit()
        record(one, "other place")
        with start("scripts/other.py", log=aside / "other.log") as record_other:
            record_other(one, "other script", "killed short")
        keep()

        for name, kept in (("commit elsewhere", True), ("commit gone", False)):
            workbench.edit("scripts/record_runs.py", "FACTOR = 1.0", f"FACTOR = {3.0 + kept}")
            workbench.commit()
            record(one, name, f"{name} too")
            if kept:
                git("push", "--quiet", "origin", "HEAD:refs/heads/elsewhere")
                git("update-ref", "-d", "refs/remotes/origin/elsewhere")
            git("reset", "--quiet", "--hard", first)
    git("reflog", "expire", "--expire=now", "--all")
    git("gc", "--quiet", "--prune=now")

    alter(workbench)


def sealed(manifest: Path) -> str:
    """The digest of a manifest as it is now."""
    return digest(canonical(json.loads(manifest.read_text("utf-8"))))


def alter(workbench: Workbench) -> None:
    """Change recorded runs behind their backs."""
    runs = workbench.runs()

    def edit(run: str, file: str, before: str, after: str) -> None:
        path = runs[run].evidence / file
        content = path.read_text("utf-8")
        assert before in content
        path.write_text(content.replace(before, after, 1), "utf-8")

    edit("an artifact edited", "config.yaml", "depth: 5", "depth: 9")
    edit("a lock edited", "requirements.txt", "tinydist==1.0", "tinydist==1.5")
    edit("a manifest edited", "manifest.json", '"cores":', '"cores": 99, "corez":')
    edit("a patch corrupted", "uncommitted.patch", "FACTOR = 2.0", "FACTOR = 5.0")
    # Written whole by a later version, whose manifest this one cannot read.
    edit("of tomorrow", "manifest.json", '"schema": 1', '"schema": 2')
    tomorrow = sealed(runs["of tomorrow"].evidence / "manifest.json")
    (runs["a config removed"].evidence / "config.yaml").unlink()
    old = {name: runs[name].evidence / "manifest.json" for name in OLD}
    for path in old.values():
        manifest = json.loads(path.read_text("utf-8"))
        del manifest["numerics"]
        path.write_text(json.dumps(manifest), "utf-8")
    with closing(sqlite3.connect(workbench.store)) as database:
        set_tag = "UPDATE tags SET value = ? WHERE key = ? AND run_uuid = ?"
        for run, key, value in (
            ("a tag edited", "git_commit", "f" * 40),
            ("a digest edited", "manifest_digest", "blake3:" + "0" * 64),
            ("of tomorrow", "manifest_digest", tomorrow),
            *((name, "manifest_digest", sealed(path)) for name, path in old.items()),
        ):
            assert database.execute(set_tag, (value, key, runs[run].id)).rowcount == 1
        # As code without the machinery leaves them: no tags, no evidence.
        for run in BARE:
            database.execute("DELETE FROM tags WHERE key NOT LIKE 'mlflow.run%' AND run_uuid = ?", (runs[run].id,))
            shutil.rmtree(runs[run].evidence)
        option = ("git_commit", "--output=x", runs["an option"].id)
        database.execute("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", option)
        inside_itself = runs["learned otherwise"].id
        circle = ("mlflow.parentRunId", inside_itself, inside_itself)
        database.execute("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", circle)
        hostile = runs["hostile"].id
        for table in ("metrics", "latest_metrics"):
            database.execute(f"UPDATE {table} SET key = ? WHERE key = 'loss' AND run_uuid = ?", (HOSTILE, hostile))  # noqa: S608
        database.execute("UPDATE params SET value = ? WHERE key = 'model.name' AND run_uuid = ?", (HOSTILE, hostile))
        database.execute("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", (HOSTILE, HOSTILE, hostile))
        database.execute("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", (HOSTILE, HOSTILE, hostile))
        database.execute("UPDATE tags SET value = ? WHERE key = 'mlflow.runName' AND run_uuid = ?", (HOSTILE, hostile))
        database.commit()


SCRIPT = ("code", "scripts/record_runs.py")
DEPTH = ("config", "model.depth")
THREADS = ("numerics", "OPENBLAS_NUM_THREADS")
# Two runs, the exit status, the verdict, and every input difference in order.
PAIRS: dict[str, tuple[str, str, int, str, list[tuple[str, str]]]] = {
    "nothing": ("base", "again", 0, "identical", []),
    "itself": ("base", "base", 0, "identical", []),
    "noise": ("base", "noisy", 1, "nondeterminism", []),
    "a param it logged": ("learned", "learned otherwise", 1, "nondeterminism", []),
    "code in a commit": ("base", "code committed", 1, "inputs", [SCRIPT, ("code", "notes/plan.txt")]),
    "code in no commit": ("base", "code uncommitted", 1, "inputs", [SCRIPT, ("code", "notes/plan.txt")]),
    "code first uncommitted, then committed": ("code uncommitted", "code committed", 0, "identical", []),
    "the same changes": ("code uncommitted", "code uncommitted again", 0, "identical", []),
    "another script": ("other place", "other script", 1, "inputs", [("code", "entry point")]),
    "a value": ("base", "set model.depth=6", 1, "inputs", [DEPTH]),
    "a whole number and a fraction": ("base", "set model.depth=5.0", 1, "inputs", [DEPTH]),
    "a number and text": ("base", 'set model.depth="5"', 1, "inputs", [DEPTH]),
    "a number and nothing": ("base", "set model.depth=null", 1, "inputs", [DEPTH]),
    "a value in a commit": ("base", "config committed", 1, "inputs", [DEPTH]),
    "a comment in the config": ("base", "comment committed", 0, "identical", []),
    "a YAML file that is no config": (
        *("base", "a file in configs that is no config"),
        *(1, "inputs", [("code", "configs/prices.yaml")]),
    ),
    "the seed": ("base", "set seed=2", 1, "inputs", [("seed", "seed")]),
    "the experiment": ("base", "set experiment_name=others", 0, "identical", []),
    "threads": ("1 threads", "2 threads", 1, "inputs", [THREADS]),
    "threads, and other results": ("1 threads", "2 threads, noisy", 1, "inputs", [THREADS]),
    "the same threads, and other results": ("1 threads", "1 threads, noisy", 1, "nondeterminism", []),
    "two runs that did not record threads": ("old", "old too", 0, "identical", []),
    "one run that did not record threads": ("base", "old", 0, "identical", []),
    "two of them with other results": ("old", "old and noisy", 1, "unexplained", []),
    "one of them with other results": ("base", "old and noisy", 1, "unexplained", []),
    "a byte of data": ("base", "data", 1, "inputs", [("data", ".")]),
    "a package": ("base", "package", 1, "inputs", [("packages", "tinydist")]),
    "a package that drifted": ("package", "drift", 1, "inputs", [("packages", "tinydist")]),
    "a tag edited": ("base", "a tag edited", 1, "inputs", [("altered record", "tags are the manifest's")]),
    "a digest edited": ("base", "a digest edited", 1, "inputs", [("altered record", "manifest digest")]),
    "a config edited": (
        *("base", "an artifact edited", 1, "inputs"),
        [("altered record", "config digest"), ("altered record", "params are the config's")],
    ),
    "a config removed": ("base", "a config removed", 1, "inputs", [("altered record", "evidence")]),
    "a lock edited": ("base", "a lock edited", 1, "inputs", [("altered record", "lock digest")]),
    "a manifest edited": ("base", "a manifest edited", 1, "inputs", [("altered record", "manifest digest")]),
    "a patch corrupted": ("code uncommitted", "a patch corrupted", 1, "inputs", [("altered record", "patch digest")]),
    "a patch corrupted, against a clean run": (
        *("base", "a patch corrupted", 1, "inputs"),
        [("altered record", "patch digest"), ("code", "git_commit")],
    ),
    "a commit that is gone": ("base", "commit gone", 1, "inputs", [("code", "git_commit")]),
    "both of a commit that is gone": ("commit gone", "commit gone too", 0, "identical", []),
    "a commit that only the remote has": ("base", "commit elsewhere", 1, "inputs", [SCRIPT]),
    "two runs inside one": ("child 1", "child 2", 1, "inputs", [("params", "rate")]),
    "a run of a later version": ("base", "of tomorrow", 2, "unknown", []),
    "a failure": ("base", "short raise", 1, "end", []),
    "a run that goes on": ("other script", "killed short", 1, "end", []),
    "two runs nobody tracked": ("bare", "bare too", 2, "unknown", []),
    "two of them that differ": ("bare", "set model.depth=8", 1, "inputs", [("params", "model.depth")]),
    "a tag that is an option": ("bare", "an option", 2, "unknown", []),
}


Answers = dict[str, CompletedProcess[str]]
# More commands, each with two runs: {name: (run, run, options)}.
COMMANDS: dict[str, tuple[str, ...]] = {
    "a person": ("base", "code committed"),
    "a person, nondeterminism": ("base", "noisy"),
    "a person, bare": ("bare", "base"),
    "a person, threads": ("1 threads", "2 threads, noisy"),
    "a person, old": ("old", "old and noisy"),
    "a page of threads": ("1 threads", "2 threads", "--html", "../threads.html"),
    "a person, going on": ("killed short", "other place"),
    "a person, hostile": ("base", "hostile"),
    "a page": ("hostile", "code committed", "--html", "../page.html"),
    "no page": ("base", "noisy", "--html", "no/such/folder/page.html"),
    "code and JSON": ("base", "noisy", "--code", "--json"),
    "the same results": ("set seed=2", "again", "--results"),
    "other results": ("base", "noisy", "--results", "--json"),
    "results of other inputs": ("set seed=2", "set experiment_name=others", "--results", "--json"),
    "results of one run twice": ("base", "base", "--results"),
    "results and code": ("base", "noisy", "--code", "--results"),
    "results without evidence": ("base", "bare", "--results"),
    "results of a run inside itself": ("learned otherwise", "base", "--results"),
}


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]],
    project: Path,
    python: Path,
    clean_env: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Workbench:
    """A project with all the runs. Look, and change nothing."""
    folder = tmp_path_factory.mktemp("diff")
    (folder / "aside").mkdir()
    workbench = Workbench(run_in, Path(shutil.copytree(project, folder / project.name, symlinks=True)))
    make(workbench, folder / "aside", python, clean_env | {"PYTHONPATH": code_of(workbench.path)})
    return workbench


@pytest.fixture(scope="module")
def answers(workbench: Workbench) -> Answers:
    """The answers of `repro diff --json` to PAIRS, and of `repro diff` to COMMANDS; one process gives them all."""
    runs = {name: run.id for name, run in workbench.runs().items()}
    asked = {name: ["diff", runs[a], runs[b], "--json"] for name, (a, b, *_) in PAIRS.items()}
    asked |= {name: ["diff", runs[a], runs[b], *options] for name, (a, b, *options) in COMMANDS.items()}
    return workbench.repro_each(asked, env={"COLUMNS": "200"})


@pytest.mark.parametrize("name", PAIRS)
def test_exactly_what_was_changed_is_named(answers: Answers, name: str) -> None:
    _, _, status, verdict, differing = PAIRS[name]
    report = json.loads(answers[name].stdout)
    assert [(each["kind"], each["name"]) for each in report["input_differences"]] == differing
    assert (report["verdict"], answers[name].returncode) == (verdict, status)


def test_a_person_reads_about_the_inputs_first_and_then_about_the_results(answers: Answers) -> None:
    answer = answers["a person"]
    assert (answer.returncode, answer.stderr) == (1, "")
    order = ["Their inputs differ", "scripts/record_runs.py", "--code", "from step 0", "2 of 3 metrics are equal"]
    assert sorted(order, key=answer.stdout.index) == order
    assert len(answer.stdout.splitlines()) < 30


def test_nondeterminism_is_called_so_and_the_next_step_is_named(answers: Answers, workbench: Workbench) -> None:
    answer = answers["a person, nondeterminism"]
    assert answer.returncode == 1
    assert "Nondeterminism: all recorded inputs are the same" in answer.stdout
    assert f"repro reproduce {workbench.runs()['base'].id}" in answer.stdout
    assert "from step 8" in answer.stdout
    assert "hash seed was random" in answer.stdout


def test_threads_that_differ_are_named_with_both_numbers(answers: Answers, workbench: Workbench) -> None:
    answer = answers["a person, threads"]
    (line,) = [line for line in answer.stdout.splitlines() if "OPENBLAS_NUM_THREADS" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == ["numerics", "OPENBLAS_NUM_THREADS", "1", "2"]
    assert "Nondeterminism" not in answer.stdout
    page = Page((workbench.path.parent / "threads.html").read_text("utf-8"))
    at = page.texts.index("OPENBLAS_NUM_THREADS")
    assert page.texts[at - 1 : at + 3] == ["numerics", "OPENBLAS_NUM_THREADS", "1", "2"]


def test_threads_that_were_not_recorded_are_unknown(answers: Answers) -> None:
    assert "unknown (numerics): neither run has recorded its processors" in answers["a person, old"].stdout
    assert "Nondeterminism" not in answers["a person, old"].stdout


def test_what_a_run_lacks_is_named(answers: Answers) -> None:
    bare = answers["a person, bare"]
    assert bare.returncode == 1
    assert "unknown (machine): A: it has no evidence" in bare.stdout
    assert "unknown (code): A: no commit was recorded" in bare.stdout
    going_on = answers["a person, going on"].stdout
    assert "A is still running" in going_on
    assert "RUNNING" in going_on


def test_the_patch_between_them_replays(workbench: Workbench) -> None:
    runs = workbench.runs()
    done = workbench.run("repro", "diff", runs["base"].id, runs["code uncommitted"].id, "--code")
    patch = runs["code uncommitted"].evidence / "uncommitted.patch"
    assert (done.returncode, done.stdout.encode()) == (1, patch.read_bytes())


def test_a_commit_from_the_remote_leaves_no_trace(workbench: Workbench) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (workbench.path / ".git").rglob("*") if path.is_file()}

    runs, before = workbench.runs(), contents()
    done = workbench.run("repro", "diff", runs["base"].id, runs["commit elsewhere"].id, "--code")
    assert "FACTOR = 4.0" in done.stdout, done.stderr
    assert contents() == before
    fetched = runs["commit elsewhere"].tags["git_commit"]
    assert workbench.run("git", "cat-file", "-e", fetched).returncode != 0
    assert workbench.git("status", "--porcelain") == ""


def test_nothing_from_the_store_gets_out_of_a_terminal_cell(answers: Answers) -> None:
    answer = answers["a person, hostile"]
    assert answer.returncode == 1, answer.stderr
    assert "\x1b" not in answer.stdout
    assert "\u202e" not in answer.stdout
    assert ":smile: [red]bold[/red] \\x1b[31m" in answer.stdout
    assert answer.stdout.count(":smile: [red]bold[/red]") == answer.stdout.count("bold") > 2


class Page(HTMLParser):
    """What a browser would see: elements, their attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_loads_nothing_and_holds_hostile_names_as_text(answers: Answers, workbench: Workbench) -> None:
    written = workbench.path.parent / "page.html"
    said = f"wrote ../page.html: open {written.as_uri()}\n"
    assert (answers["a page"].returncode, answers["a page"].stderr) == (1, said)
    text = written.read_text("utf-8")
    page = Page(text)
    layout = {"html", "meta", "title", "style", "h1", "h2", "p", "div", "b", "small", "span", "i", "ul", "li"}
    content = {"table", "tr", "th", "td", "code", "figure", "figcaption", "details", "summary", "pre"}
    assert page.elements <= layout | content | {"svg", "line", "path", "circle", "text"}
    assert not page.attributes & {"src", "href", "srcset", "data", "action", "style"}
    assert not [name for name in page.attributes if name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    assert [shown for shown in page.texts if '<script>alert("x")</script><img src=http://x/>' in shown]
    assert not set("\x1b\u202e") & set(text)
    assert "Twice as much <b>" in " ".join(page.texts)
    assert "+FACTOR = 2.0" in page.texts
    assert text.count("<svg ") == 2  # the metrics that differ: the loss of each side


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no page", "cannot be written"),
        ("code and JSON", "a patch is not JSON"),
        ("results of a run inside itself", "which is nested in it"),
    ],
)
def test_what_cannot_be_done_is_one_line(answers: Answers, name: str, words: str) -> None:
    assert answers[name].returncode == 2
    assert words in answers[name].stderr
    assert len(answers[name].stderr.strip().splitlines()) == 1


# --- the results alone


def test_the_same_results_hold_and_the_inputs_that_differ_are_named(answers: Answers, workbench: Workbench) -> None:
    answer, runs = answers["the same results"], workbench.runs()
    assert (answer.returncode, answer.stderr) == (0, "")
    assert f"run {runs['set seed=2'].id} (A) and run {runs['again'].id} (B)" in answer.stdout
    assert "IDENTICAL" in answer.stdout
    assert [line for line in answer.stdout.splitlines() if line.count("seed") == 2 and "2" in line and "1" in line]
    assert not [tag for tag in runs["again"].tags if tag.startswith("reproduce")]  # nothing is recorded


def test_other_results_do_not_hold_and_the_first_difference_is_named(answers: Answers) -> None:
    report = json.loads(answers["other results"].stdout)
    assert (answers["other results"].returncode, report["verdict"], report["input_differences"]) == (1, "different", [])
    first = report["first_difference"]
    assert (first["kind"], first["name"], first["step"]) == ("metric", "loss", 8)


def test_params_of_the_config_are_no_results(answers: Answers) -> None:
    report = json.loads(answers["results of other inputs"].stdout)
    assert (answers["results of other inputs"].returncode, report["verdict"]) == (0, "identical")
    assert report["input_differences"] == [{"kind": "seed", "name": "seed", "a": "2", "b": "1"}]


def test_in_nox_only_other_results_are_a_failure(project: Path) -> None:
    """For a job of CI. `nox -s diff` alone asks in what two runs differ, and status 1 is an answer."""
    session_diff = runpy.run_path(str(project / "noxfile.py"))["diff"]
    for options, successes in ([], [0, 1]), (["--results"], [0]):
        session = Mock(posargs=["last~1", "last", *options])
        session_diff(session)
        session.run.assert_called_once_with("repro", "diff", "last~1", "last", *options, success_codes=successes)


def test_a_server_gives_the_same_answer_as_its_database(
    workbench: Workbench,
    answers: Answers,
    server_python: Path,
    clean_env: dict[str, str],
    tmp_path: Path,
) -> None:
    runs = workbench.runs()
    env = clean_env | {"PYTHONPATH": code_of(workbench.path)}
    command = [server_python.parent / "repro", "server", "run", "--embedded"]
    with TrackingServer(command, env, tmp_path / "server.log") as server:
        address = {"MLFLOW_TRACKING_URI": server.uri}
        done = workbench.run("repro", "diff", runs["base"].id, runs["noisy"].id, "--json", env=address)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout) == json.loads(answers["noise"].stdout)
