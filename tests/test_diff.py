"""`repro diff`: of two real runs exactly what was changed between them is named, and nothing else."""

import json
import shutil
import sqlite3
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from html.parser import HTMLParser
from itertools import count
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from tracking_server import TrackingServer
from workbench import Workbench

# Records one run for each name it is asked for, until there is nobody to ask; what happens on the way is in the name.
# It stays while the project around it is changed, because starting Python and importing MLflow takes seconds.
RECORD = """
import json, os, re, sys, time
from pathlib import Path
from reproducibility import Config, Section, load, tracked_run

class Model(Section):
    depth: int | float | str | None
    name: str

class Data(Section):
    path: str

class LabConfig(Config):
    experiment_name: str
    seed: int
    data: Data
    model: Model

FACTOR = 1.0

def record(name):
    config = load("configs/lab.yaml", LabConfig, [name[4:]] if name.startswith("set ") else [])
    factor = float(re.search("^FACTOR = (.*)$", Path(__file__).read_text(), re.MULTILINE)[1])
    with tracked_run(config, run_name=name) as run:
        import mlflow
        from mlflow.entities import Metric
        noise = 1e-12 if "noisy" in name else 0.0
        steps = 5 if "short" in name else 20
        history = [("loss", factor / (1 + step) + noise * (step > 7), step) for step in range(steps)]
        history += [("constant", 3.0, 0), ("undefined", float("nan"), 0), ("system/clock", time.time(), 0)]
        metrics = [Metric(key, value, 1_700_000_000_000 + step, step) for key, value, step in history]
        mlflow.MlflowClient().log_batch(run.info.run_id, metrics=metrics)
        if "learned" in name:
            mlflow.log_param("learned", name)
        if "sweep" in name:
            for rate in (1, 2):
                with mlflow.start_run(run_name=f"child {rate}", nested=True):
                    mlflow.log_param("rate", rate)
                    mlflow.log_metric("loss", rate)
        if "raise" in name:
            raise ValueError("nothing learned")
        if "killed" in name:
            os._exit(0)

aside, number = Path(sys.argv[1]), 0
while True:
    number += 1
    while not (asked := aside / f"asked-{number}").exists():
        time.sleep(0.02)
    packages, names = json.loads(asked.read_text())
    sys.path.insert(0, packages)
    for name in names:
        try:
            record(name)
        except ValueError:
            pass
    sys.path.remove(packages)
    (aside / f"done-{number}").touch()
    if not names:
        break
"""
# The command itself, once for each pair, in one process: importing MLflow takes longer than comparing.
DIFF = """
import contextlib, io, json, sys
from reproducibility.cli import main
said = {}
for name, pair in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            main(["diff", *pair, "--json"])
        except SystemExit as end:
            said[name] = [end.code, output.getvalue()]
print(json.dumps(said))
"""
DIGEST = """
import json, sys
from reproducibility.digest import canonical, digest
print(digest(canonical(json.load(open(sys.argv[1], encoding="utf-8")))))
"""
LAB = """\
experiment_name: workbench
seed: 1
data:
  path: data/penguins.csv
model:
  depth: 5
  name: forest
"""
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


def make(workbench: Workbench, aside: Path) -> None:
    """Record all runs, changing one thing at a time and putting it back."""
    git = workbench.git
    one, two = package(aside, "1.0"), package(aside, "2.0")

    def keep() -> None:
        """Go back to the first commit, and keep the one that is left on a branch."""
        git("branch", f"kept-{git('rev-parse', '--short', 'HEAD')}")
        git("reset", "--quiet", "--hard", first)

    def scribe(script: str, folder: Path) -> Callable[..., None]:
        """Start *script*; return what has it record runs with a folder of packages; asked for none it ends."""
        folder.mkdir()
        counter = count(1)
        running = ThreadPoolExecutor(1).submit(workbench.run, "python", script, str(folder), timeout=300)

        def record(*names: str, packages: Path = one) -> None:
            number = next(counter)
            asked = folder / f"asked-{number}"
            asked.with_suffix(".new").write_text(json.dumps([str(packages), names]))
            asked.with_suffix(".new").rename(asked)
            while not (folder / f"done-{number}").exists() and not running.done():
                time.sleep(0.02)
            if running.done():
                assert "Traceback" not in running.result().stderr, running.result().stderr

        return record

    workbench.write("scripts/record.py", RECORD)
    workbench.write("configs/lab.yaml", LAB)
    lock = workbench.write("requirements.txt", (workbench.path / "requirements.txt").read_text() + PIN)
    first = workbench.commit()
    remote = aside / "remote.git"
    git("clone", "--quiet", "--bare", ".", str(remote))
    git("remote", "add", "origin", remote.as_uri())

    record = scribe("scripts/record.py", aside / "record")
    record("base", "again", "noisy", "short raise", "learned", "learned otherwise", "a tag edited")
    record(
        "an artifact edited", "a lock edited", "a manifest edited", "a config removed", "a digest edited", packages=one
    )
    record(*(f"set {change}" for change in CHANGES))
    record("sweep", "of tomorrow")
    record("hostile", "bare", "bare too", "set model.depth=8", "an option")

    workbench.edit("configs/lab.yaml", "depth: 5", "depth: 7 # deeper")
    workbench.edit("README.md", "Every training run", "Each training run")
    workbench.commit()
    record("config committed")
    keep()

    workbench.edit("configs/lab.yaml", "depth: 5", "depth: 5 # deep")
    workbench.commit()
    record("comment committed")
    keep()

    workbench.write("configs/prices.yaml", "apples: 3\n")
    record("a file in configs that is no config")
    (workbench.path / "configs" / "prices.yaml").unlink()

    data = workbench.path / "data" / "penguins.csv"
    before = data.read_bytes()
    data.write_bytes(before[:-2] + b"x" + before[-1:])
    record("data")
    data.write_bytes(before)

    lock.write_text(lock.read_text().replace("tinydist==1.0", "tinydist==2.0"))
    record("package", packages=two)
    workbench.edit("configs/base.yaml", "environment_drift: refuse", "environment_drift: record")
    record("drift")
    git("checkout", "--quiet", ".")

    workbench.edit("scripts/record.py", "FACTOR = 1.0", "FACTOR = 2.0")
    workbench.write("notes/plan.txt", "try two\n")
    record("code uncommitted", "code uncommitted again", "a patch corrupted")
    git("add", "--all")
    git("commit", "--quiet", "--message=Twice as much <b>")
    record("code committed")
    keep()

    workbench.write("scripts/other.py", RECORD)
    workbench.commit()
    record("other place")
    scribe("scripts/other.py", aside / "other")("other script", "killed short")
    keep()

    for name, kept in (("commit elsewhere", True), ("commit gone", False)):
        workbench.edit("scripts/record.py", "FACTOR = 1.0", f"FACTOR = {3.0 + kept}")
        workbench.commit()
        record(name, f"{name} too")
        if kept:
            git("push", "--quiet", "origin", "HEAD:refs/heads/elsewhere")
            git("update-ref", "-d", "refs/remotes/origin/elsewhere")
        git("reset", "--quiet", "--hard", first)
    record()
    git("reflog", "expire", "--expire=now", "--all")
    git("gc", "--quiet", "--prune=now")

    alter(workbench)


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
    tomorrow = workbench.python(DIGEST, str(runs["of tomorrow"].evidence / "manifest.json")).stdout.strip()
    (runs["a config removed"].evidence / "config.yaml").unlink()
    with closing(sqlite3.connect(workbench.store)) as database:
        set_tag = "UPDATE tags SET value = ? WHERE key = ? AND run_uuid = ?"
        for run, key, value in (
            ("a tag edited", "git_commit", "f" * 40),
            ("a digest edited", "manifest_digest", "blake3:" + "0" * 64),
            ("of tomorrow", "manifest_digest", tomorrow),
        ):
            assert database.execute(set_tag, (value, key, runs[run].id)).rowcount == 1
        # As code without the machinery leaves them: no tags, no evidence.
        for run in BARE:
            database.execute("DELETE FROM tags WHERE key NOT LIKE 'mlflow.run%' AND run_uuid = ?", (runs[run].id,))
            shutil.rmtree(runs[run].evidence)
        option = ("git_commit", "--output=x", runs["an option"].id)
        database.execute("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", option)
        hostile = runs["hostile"].id
        for table in ("metrics", "latest_metrics"):
            database.execute(f"UPDATE {table} SET key = ? WHERE key = 'loss' AND run_uuid = ?", (HOSTILE, hostile))  # noqa: S608
        database.execute("UPDATE params SET value = ? WHERE key = 'model.name' AND run_uuid = ?", (HOSTILE, hostile))
        database.execute("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", (HOSTILE, HOSTILE, hostile))
        database.execute("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", (HOSTILE, HOSTILE, hostile))
        database.execute("UPDATE tags SET value = ? WHERE key = 'mlflow.runName' AND run_uuid = ?", (HOSTILE, hostile))
        database.commit()


SCRIPT = ("code", "scripts/record.py")
DEPTH = ("config", "model.depth")
# Two runs, the exit status, the verdict, and every cause in order.
PAIRS: dict[str, tuple[str, str, int, str, list[tuple[str, str]]]] = {
    "nothing": ("base", "again", 0, "identical", []),
    "itself": ("base", "base", 0, "identical", []),
    "noise": ("base", "noisy", 1, "nondeterminism", []),
    "a param it logged": ("learned", "learned otherwise", 1, "nondeterminism", []),
    "code in a commit": ("base", "code committed", 1, "causes", [SCRIPT, ("code", "notes/plan.txt")]),
    "code in no commit": ("base", "code uncommitted", 1, "causes", [SCRIPT, ("code", "notes/plan.txt")]),
    "code first uncommitted, then committed": ("code uncommitted", "code committed", 0, "identical", []),
    "the same changes": ("code uncommitted", "code uncommitted again", 0, "identical", []),
    "another script": ("other place", "other script", 1, "causes", [("code", "entry point")]),
    "a value": ("base", "set model.depth=6", 1, "causes", [DEPTH]),
    "a whole number and a fraction": ("base", "set model.depth=5.0", 1, "causes", [DEPTH]),
    "a number and text": ("base", 'set model.depth="5"', 1, "causes", [DEPTH]),
    "a number and nothing": ("base", "set model.depth=null", 1, "causes", [DEPTH]),
    "a value in a commit": ("base", "config committed", 1, "causes", [DEPTH]),
    "a comment in the config": ("base", "comment committed", 0, "identical", []),
    "a YAML file that is no config": (
        *("base", "a file in configs that is no config"),
        *(1, "causes", [("code", "configs/prices.yaml")]),
    ),
    "the seed": ("base", "set seed=2", 1, "causes", [("seed", "seed")]),
    "the experiment": ("base", "set experiment_name=others", 0, "identical", []),
    "a byte of data": ("base", "data", 1, "causes", [("data", ".")]),
    "a package": ("base", "package", 1, "causes", [("packages", "tinydist")]),
    "a package that drifted": ("package", "drift", 1, "causes", [("packages", "tinydist")]),
    "a tag edited": ("base", "a tag edited", 1, "causes", [("altered record", "tags are the manifest's")]),
    "a digest edited": ("base", "a digest edited", 1, "causes", [("altered record", "manifest digest")]),
    "a config edited": (
        *("base", "an artifact edited", 1, "causes"),
        [("altered record", "config digest"), ("altered record", "params are the config's")],
    ),
    "a config removed": ("base", "a config removed", 1, "causes", [("altered record", "evidence")]),
    "a lock edited": ("base", "a lock edited", 1, "causes", [("altered record", "lock digest")]),
    "a manifest edited": ("base", "a manifest edited", 1, "causes", [("altered record", "manifest digest")]),
    "a patch corrupted": ("code uncommitted", "a patch corrupted", 1, "causes", [("altered record", "patch digest")]),
    "a patch corrupted, against a clean run": (
        *("base", "a patch corrupted", 1, "causes"),
        [("altered record", "patch digest"), ("code", "git_commit")],
    ),
    "a commit that is gone": ("base", "commit gone", 1, "causes", [("code", "git_commit")]),
    "both of a commit that is gone": ("commit gone", "commit gone too", 0, "identical", []),
    "a commit that only the remote has": ("base", "commit elsewhere", 1, "causes", [SCRIPT]),
    "two runs inside one": ("child 1", "child 2", 1, "causes", [("params", "rate")]),
    "a run of a later version": ("base", "of tomorrow", 2, "untold", []),
    "a failure": ("base", "short raise", 1, "end", []),
    "a run that goes on": ("other script", "killed short", 1, "end", []),
    "two runs nobody tracked": ("bare", "bare too", 2, "untold", []),
    "two of them that differ": ("bare", "set model.depth=8", 1, "causes", [("params", "model.depth")]),
    "a tag that is an option": ("bare", "an option", 2, "untold", []),
}


@pytest.fixture(scope="session")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, once: Callable[[str, Callable[[Path], None]], Path]
) -> Workbench:
    """A project with all the runs, made once. Look, and change nothing."""

    def prepare(folder: Path) -> None:
        copied = Path(shutil.copytree(project, folder / project.name, symlinks=True))
        (folder / "aside").mkdir()
        make(Workbench(run_in, copied), folder / "aside")

    return Workbench(run_in, once("diff", prepare) / project.name)


@pytest.fixture(scope="session")
def said(workbench: Workbench) -> dict[str, tuple[int, dict]]:
    """What `repro diff --json` said of each pair: {name: (exit status, answer)}."""
    runs = workbench.runs()
    ids = {name: [runs[a].id, runs[b].id] for name, (a, b, *_) in PAIRS.items()}
    done = workbench.python(DIFF, json.dumps(ids))
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    return {name: (status, json.loads(text)) for name, (status, text) in answers.items()}


@pytest.mark.parametrize("name", PAIRS)
def test_exactly_what_was_changed_is_named(said: dict[str, tuple[int, dict]], name: str) -> None:
    status, answer = said[name]
    _, _, expected_status, verdict, causes = PAIRS[name]
    assert [(cause["kind"], cause["key"]) for cause in answer["causes"]] == causes
    assert (answer["verdict"], status) == (verdict, expected_status)


def diff(workbench: Workbench, a: str, b: str, *options: str, **env: str) -> CompletedProcess[str]:
    """`repro diff` on two runs by their names."""
    runs = workbench.runs()
    return workbench.run("repro", "diff", runs[a].id, runs[b].id, *options, env={"COLUMNS": "200"} | env)


def test_a_person_reads_why_first_and_then_in_what(workbench: Workbench) -> None:
    done = diff(workbench, "base", "code committed")
    assert (done.returncode, done.stderr) == (1, "")
    order = ["They did not start the same", "scripts/record.py", "--code", "from step 0", "2 of 3 metrics are equal"]
    assert sorted(order, key=done.stdout.index) == order
    assert len(done.stdout.splitlines()) < 30


def test_nondeterminism_is_called_so_and_the_way_on_is_named(workbench: Workbench) -> None:
    done = diff(workbench, "base", "noisy")
    assert done.returncode == 1
    assert "Nondeterminism: everything recorded is the same" in done.stdout
    assert f"repro reproduce {workbench.runs()['base'].id}" in done.stdout
    assert "from step 8" in done.stdout
    assert "hash seed was random" in done.stdout


def test_what_a_run_lacks_is_said(workbench: Workbench) -> None:
    done = diff(workbench, "bare", "base")
    assert done.returncode == 1
    assert "A: it has no evidence" in done.stdout
    assert "A: no commit was recorded" in done.stdout
    going_on = diff(workbench, "killed short", "other place")
    assert "A is still running" in going_on.stdout
    assert "RUNNING" in going_on.stdout


def test_the_patch_between_them_replays(workbench: Workbench, tmp_path: Path) -> None:
    runs = workbench.runs()
    done = diff(workbench, "base", "code uncommitted", "--code")
    assert done.returncode == 1
    assert done.stdout.encode() == (runs["code uncommitted"].evidence / "uncommitted.patch").read_bytes()


def test_a_commit_from_the_remote_leaves_no_trace(workbench: Workbench) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (workbench.path / ".git").rglob("*") if path.is_file()}

    before = contents()
    done = diff(workbench, "base", "commit elsewhere", "--code")
    assert "FACTOR = 4.0" in done.stdout, done.stderr
    assert contents() == before
    fetched = workbench.runs()["commit elsewhere"].tags["git_commit"]
    assert workbench.run("git", "cat-file", "-e", fetched).returncode != 0
    assert workbench.git("status", "--porcelain") == ""


def test_nothing_from_the_store_gets_out_of_a_terminal_cell(workbench: Workbench) -> None:
    done = diff(workbench, "base", "hostile")
    assert done.returncode == 1, done.stderr
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert ":smile: [red]bold[/red] \\x1b[31m" in done.stdout
    assert done.stdout.count(":smile: [red]bold[/red]") == done.stdout.count("bold") > 2


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


def test_the_page_stands_alone_and_holds_hostile_names_as_text(workbench: Workbench, tmp_path: Path) -> None:
    done = diff(workbench, "hostile", "code committed", "--html", str(tmp_path / "page.html"))
    assert (done.returncode, done.stderr) == (1, "")
    text = (tmp_path / "page.html").read_text("utf-8")
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


def test_the_plot_needs_no_display_and_takes_any_name(workbench: Workbench, tmp_path: Path) -> None:
    done = diff(workbench, "base", "hostile", "--plot", str(tmp_path / "plot.png"), DISPLAY="", MPLBACKEND="tkagg")
    assert (done.returncode, done.stderr) == (1, "")
    content = (tmp_path / "plot.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width > 800
    assert height > 300


@pytest.mark.parametrize("option", ["--html", "--plot"])
def test_a_file_that_cannot_be_written_is_one_line(workbench: Workbench, option: str) -> None:
    done = diff(workbench, "base", "noisy", option, "no/such/folder/file.png")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_server_says_what_its_database_does(
    workbench: Workbench, said, server_python: Path, clean_env: dict[str, str], tmp_path: Path
) -> None:
    env = clean_env | {"PYTHONPATH": str(workbench.path / "src")}
    command = [server_python.parent / "repro", "server", "run", "--embedded"]
    with TrackingServer(command, env, tmp_path / "server.log") as server:
        done = diff(workbench, "base", "noisy", "--json", MLFLOW_TRACKING_URI=server.uri)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout) == said["noise"][1]
