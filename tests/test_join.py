"""Repositories that join: a report that writes nothing, a branch with the machinery, and runs that are made again."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from conftest import MACHINERY, TEMPLATE, RunIn, python_of
from repository import Repository
from reproducibility.lockfile import pins, unhashed
from workbench import Workbench

SHAPES = Path(__file__).resolve().parent / "repositories"
WRITTEN = {".gitignore", ".github/workflows/reproducibility.yml", "configs/base.yaml", "requirements.txt"}
# The two lines that the owners add: the file, a line of it, and what stands after that line.
ADDED = {
    "argv": ("train.py", "    with mlflow.start_run():\n", ""),
    "argparse": (
        "main.py",
        '    with mlflow.start_run(run_name="linear"):\n',
        '{"seed": args.seed, "arguments": {"lr": args.lr}}',
    ),
    "hydra": ("run.py", "    with mlflow.start_run():\n", ""),
    "package": ("src/wine/cli.py", "    with mlflow.start_run():\n", '{"arguments": vars(options)}'),
}


class Shape(Workbench):
    """A repository of one shape, and the ways to join it."""

    def __init__(self, run_in: RunIn, repository: Repository, python: Path) -> None:
        super().__init__(run_in, repository.path)
        self.repository, self.python = repository, python

    def join(self, *options: str, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
        machinery = TEMPLATE / "<<cookiecutter.project_slug>>" / MACHINERY / "src"
        path = {"PYTHONPATH": os.pathsep.join([str(TEMPLATE), str(machinery)]), "COLUMNS": "160"} | dict(env or {})
        return self.run("python", "-m", "join", self.path, *options, cwd=TEMPLATE, env=path, fresh=True)

    def joined(self, *options: str) -> CompletedProcess[str]:
        """Let the repository join with what the shared environment has, and go on on the branch."""
        done = self.join("--apply", "--python", str(self.python), *options)
        assert done.returncode == 0, done.stdout + done.stderr
        self.git("switch", "--quiet", "reproducibility")
        return done

    def add_lines(self, name: str) -> None:
        """Add the two lines to the script of the shape *name*, and commit them."""
        file, after, given = ADDED[name]
        indent = " " * (len(after) - len(after.lstrip()) + 4)
        self.edit(file, after, f"{after}{indent}log_reproducibility_info({given})\n")
        self.edit(file, "import mlflow\n", "import mlflow\nfrom reproducibility import log_reproducibility_info\n")
        self.commit()

    def audit(self) -> list[tuple[str, tuple[str, ...]]]:
        found = json.loads(self.run("repro", "audit", "--json").stdout)
        return [(run["verdict"], tuple(run["problems"])) for run in found["runs"]]


@pytest.fixture(scope="module")
def shape(
    run_in: RunIn, python: Path, clean_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Shape]:
    """`shape(name)`: a new git repository with the files of tests/repositories/NAME, committed."""

    def make(name: str) -> Shape:
        place = Path(copytree(SHAPES / name, tmp_path_factory.mktemp("join") / f"{name}-project"))
        repository = Repository.new(place, clean_env)
        repository.commit()
        return Shape(run_in, repository, python)

    return make


@pytest.fixture(scope="module")
def argv(shape: Callable[[str], Shape]) -> Shape:
    """The script with positional arguments, with one run of plain MLflow, joined."""
    made = shape("argv")
    made.joined("--train", "train.py 0.25")
    return made


def test_the_report_says_what_is_there_and_writes_nothing(shape: Callable[[str], Shape]) -> None:
    argparse = shape("argparse")
    before = (
        argparse.repository.files(ignored=True),
        argparse.git("for-each-ref"),
        argparse.git("status", "--porcelain"),
    )
    done = argparse.join("--json", "--python", str(argparse.python))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["layout"], found["builds"], found["sources"]) == ("flat", None, ["requirements.in"])
    assert found["data_path"] == "input/wine.csv"
    assert found["code"]["scripts"] == [
        {"path": "main.py", "line": 24, "block": True, "takes": "argparse", "arguments": None, "starts": True}
    ]
    assert found["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    after = argparse.repository.files(ignored=True), argparse.git("for-each-ref"), argparse.git("status", "--porcelain")
    assert before == after


def test_the_report_audits_the_runs_that_are_there(shape: Callable[[str], Shape], bare_python: Path) -> None:
    hydra = shape("hydra")
    done = subprocess.run(
        [bare_python, "run.py"], cwd=hydra.path, env=hydra.repository.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before = (hydra.path / "runs.db").read_bytes()
    done = hydra.join("--json", "--python", str(hydra.python))
    (store,) = json.loads(done.stdout)["stores"]
    assert (store["place"], store["runs"], store["finished"], store["comply"]) == ("runs.db", 1, 1, 0)
    assert store["why"].startswith("required tags and params: it has no git_commit, git_branch")
    assert (hydra.path / "runs.db").read_bytes() == before
    table = hydra.join("--python", str(hydra.python)).stdout
    assert "could be made again" in table
    assert "sqlite:///runs.db" in table


def test_a_repository_joins_on_a_branch_and_no_code_is_edited(argv: Shape) -> None:
    changed = argv.git("diff", "--name-status", "main", "reproducibility", "--", ".", ":!packages").splitlines()
    assert set(changed) == {
        *(f"A\t{name}" for name in WRITTEN - {"requirements.txt"}),
        *("A\tnoxfile.py", "R100\trequirements.txt\trequirements.in", "A\trequirements.txt"),
    } or {line.split("\t")[-1] for line in changed} == WRITTEN | {"noxfile.py", "requirements.in"}
    assert argv.git("rev-parse", "reproducibility^") == argv.git("rev-parse", "main")
    assert argv.git("log", "-1", "--format=%an <%ae>", "reproducibility") == "Ada Lovelace <ada@example.com>"
    assert argv.git("worktree", "list").count("\n") == 0
    base = (argv.path / "configs" / "base.yaml").read_text("utf-8")
    for line in ("  enforce: record\n", "  environment_drift: record\n", "seed: 40\n", '  path: "data/wine.csv"\n'):
        assert line in base
    machinery = TEMPLATE / "<<cookiecutter.project_slug>>" / MACHINERY
    files = [path for path in (argv.path / MACHINERY).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert all(
        path.read_bytes() == (machinery / path.relative_to(argv.path / MACHINERY)).read_bytes() for path in files
    )
    assert len(files) > 100


def test_the_lock_has_the_versions_that_are_installed(argv: Shape) -> None:
    lock = (argv.path / "requirements.txt").read_bytes()
    listing = subprocess.run(
        [
            argv.python,
            "-c",
            "import numpy, sqlalchemy, json; print(json.dumps([numpy.__version__, sqlalchemy.__version__]))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    locked = pins("requirements.txt", lock)
    assert [locked["numpy"], locked["sqlalchemy"]] == json.loads(listing.stdout)
    assert not unhashed(lock)
    assert "flit-core" in locked


def test_a_run_of_before_is_a_ramp_and_a_run_with_the_lines_is_reproduced(argv: Shape) -> None:
    plain = argv.run("python", "train.py", "0.25")
    assert plain.returncode == 0, plain.stderr
    argv.add_lines("argv")
    done = argv.run("python", "train.py", "0.25", "0.75")
    assert done.returncode == 0, done.stderr
    (first, second) = argv.every_run()
    assert "policy_violations" in first.tags
    assert "policy_violations" not in second.tags
    assert [verdict for verdict, _ in argv.audit()] == ["complies", "does not comply"]
    reproduced = argv.run("repro", "reproduce", "last", "--json")
    assert reproduced.returncode == 0, reproduced.stdout + reproduced.stderr
    assert json.loads(reproduced.stdout)["verdict"] == "identical"
    *_, third = argv.every_run()
    assert (third.metrics, third.params["l1_ratio"]) == (second.metrics, "0.75")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("argparse", ("main.py", "--epochs", "3", "--lr=0.002")),
        ("hydra", ("run.py", "model=constant", "model.scale=0.1", "seed=3")),
    ],
)
def test_scripts_of_other_shapes_record_runs_that_comply(
    shape: Callable[[str], Shape], name: str, command: tuple[str, ...]
) -> None:
    made = shape(name)
    done = made.joined()
    file, _, _ = ADDED[name]
    assert f"    {file}:" in done.stdout
    made.add_lines(name)
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{(made.path / 'runs.db').as_posix()}"}
    done = made.run("python", *command, env=env)
    assert done.returncode == 0, done.stderr
    (run,) = made.every_run(made.path / "runs.db")
    assert (run.status, "policy_violations" in run.tags) == ("FINISHED", False)
    manifest = json.loads((run.evidence / "manifest.json").read_text("utf-8"))
    assert manifest["start"]["arguments"] == [*command[1:]]
    assert made.run("repro", "validate", run.id, env=env).returncode == 0


def test_a_notebook_is_recorded_and_said_to_be_none_that_can_be_made_again(shape: Callable[[str], Shape]) -> None:
    notebook = shape("notebook")
    notebook.joined()
    done = notebook.script("play_notebook.py", "explore.ipynb")
    assert done.stdout.split() == ["ok", "ok"], done.stderr
    (run,) = notebook.every_run()
    assert (run.name, run.status) == ("explore", "FINISHED")
    ((verdict, problems),) = notebook.audit()
    assert verdict == "does not comply"
    assert "evidence: missing: manifest.json, config.yaml, requirements.txt" in problems


def test_a_package_with_its_own_backend_is_installed_from_the_lock_and_its_command_is_reproduced(
    shape: Callable[[str], Shape], share_bytecode: Callable[[Path], None]
) -> None:
    package = shape("package")
    package.joined()
    package.add_lines("package")
    environment = package.path / ".venv"
    share_bytecode(environment)
    made = package.run("python", "-m", "nox", "-s", "dev", env={"PYTHONPATH": None}, fresh=True)
    assert made.returncode == 0, made.stdout + made.stderr

    def run(*command: str) -> CompletedProcess[str]:
        program = python_of(environment).with_name(command[0])
        return package.run(program, *command[1:], env={"PYTHONPATH": None}, fresh=True)

    done = run("wine-train", "--rate", "2.5")
    assert done.returncode == 0, done.stderr
    (original,) = package.every_run()
    manifest = json.loads((original.evidence / "manifest.json").read_text("utf-8"))
    assert (manifest["entry_point"], manifest["start"]["command"]) == ("src/wine/cli.py", "wine-train")
    assert manifest["environment"]["drift"] == []
    reproduced = run("repro", "reproduce", original.id, "--json")
    assert reproduced.returncode == 0, reproduced.stdout + reproduced.stderr
    assert json.loads(reproduced.stdout)["verdict"] == "identical"
    assert run("repro", "validate", original.id).returncode == 0


def environment_with(place: Path, packages: Mapping[str, str]) -> Path:
    """Make the folders of an environment with *packages*, {name: version}; return its Python, which nobody starts."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    installed = place / "lib" / f"python{python}" / "site-packages"
    for name, version in packages.items():
        folder = installed / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
    (place / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {python}.0\n", "utf-8")
    return place / "bin" / "python"


def test_a_project_in_a_folder_of_a_repository_joins_there_with_what_is_installed(
    run_in: RunIn, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    top = Repository.new(tmp_path / "mono repository", clean_env)
    copytree(SHAPES / "argv", top.path / "services" / "wine")
    top.write("README.md", b"Several projects.\n")
    top.commit()
    installed = {"numpy": "2.2.6", "sqlalchemy": "2.0.40", "pydantic": "1.10.2", "mlflow-skinny": "3.1.0"}
    python = environment_with(tmp_path / "environment", installed)
    project = Shape(run_in, Repository(top.path / "services" / "wine", clean_env), python)
    done = project.joined()
    assert "The lock has mlflow-skinny 3.17.2 instead of 3.1.0, which the machinery needs." in done.stdout
    assert "instead of 1.10.2" in done.stdout
    assert "numpy" not in done.stdout
    assert pins("requirements.txt", (project.path / "requirements.txt").read_bytes())["numpy"] == "2.2.6"
    changed = set(top.git("diff", "--name-only", "main", "reproducibility").splitlines())
    assert {name for name in changed if "/packages/" not in name} == {
        ".github/workflows/reproducibility.yml",
        *(f"services/wine/{name}" for name in (".gitignore", "configs/base.yaml", "noxfile.py")),
        *(f"services/wine/{name}" for name in ("requirements.in", "requirements.txt")),
    }
    assert 'working-directory: "services/wine"' in (top.path / ".github/workflows/reproducibility.yml").read_text(
        "utf-8"
    )
    done = project.run("python", "train.py")
    assert done.returncode == 0, done.stderr
    assert [run.status for run in project.every_run()] == ["FINISHED"]


def test_what_has_to_be_changed_first_is_named_and_nothing_is_written(shape: Callable[[str], Shape]) -> None:
    blocked = shape("package")
    blocked.write("configs/base.yaml", "model: big\n")
    blocked.write("setup.py", "from setuptools import setup\nsetup(install_requires=open('requirements.txt').read())\n")
    blocked.commit()
    done = blocked.join("--apply", "--python", str(blocked.python))
    assert done.returncode == 1, done.stderr
    assert (
        "To change first: configs/base.yaml: the repository has such a file. To fix it: give that file" in done.stdout
    )
    assert "To change first: setup.py: it reads requirements.txt" in done.stdout
    assert "reproducibility" not in blocked.git("branch")


def test_no_link_of_a_repository_leads_a_file_out_of_it(shape: Callable[[str], Shape], tmp_path: Path) -> None:
    outside = tmp_path / "profile"
    outside.write_text("mine\n", "utf-8")
    linked = shape("notebook")
    (linked.path / ".gitignore").symlink_to(outside)
    linked.commit()
    done = linked.join("--apply", "--python", str(linked.python))
    assert (done.returncode, outside.read_text("utf-8")) == (2, "mine\n")
    assert ".gitignore: it is a link, or lies below one" in done.stderr
    assert linked.git("branch", "--list", "reproducibility") == ""


def test_what_cannot_join_is_refused_in_one_line(argv: Shape, tmp_path: Path) -> None:
    messages = {
        "joined": (argv.join("--apply"), "it has packages/reproducibility already, so it has joined"),
    }
    argv.git("switch", "--quiet", "main")
    try:
        messages["branch"] = (argv.join("--apply"), "there is a branch reproducibility")
        messages["python"] = (argv.join("--python", "/nowhere/bin/python"), "belongs to no virtual environment")
        argv.edit("requirements.txt", "mlflow-skinny>=3", "mlflow-skinny<3")
        argv.commit()
        argv.git("branch", "--quiet", "-m", "reproducibility", "kept")
        messages["lock"] = (argv.join("--apply", "--python", str(argv.python)), "requirements: no lock has all of it:")
        assert "reproducibility" not in argv.git("branch")
        assert argv.git("worktree", "list").count("\n") == 0
    finally:
        argv.git("reset", "--quiet", "--hard", "HEAD")
    for done, expected in messages.values():
        assert done.returncode == 2, done.stdout + done.stderr
        assert expected in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
