"""The root of the project that the machinery serves, however project and machinery are laid out and installed."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import uv
from conftest import MACHINERY, TEMPLATE, python_of

SCRIPTS = Path(__file__).parent / "scripts"
PYPROJECT = """\
[project]
name = "{name}"
version = "1"
description = "A project"
[build-system]
requires = ["flit_core"]
build-backend = "flit_core.buildapi"
"""


def make_project(root: Path, module: str = "src/{name}/__init__.py") -> Path:
    """Make the smallest project: a base.yaml, a pyproject.toml and a package of the folder's name."""
    for path, text in {
        "configs/base.yaml": "seed: 1\n",
        "pyproject.toml": PYPROJECT.format(name=root.name),
        module.format(name=root.name): '"""A package."""\n',
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def add_machinery(root: Path) -> Path:
    source = TEMPLATE / "<<cookiecutter.project_slug>>" / MACHINERY
    return Path(shutil.copytree(source, root / MACHINERY, ignore=shutil.ignore_patterns("__pycache__")))


class Environment:
    """A virtual environment that has the libraries of the machinery, and what is installed into it."""

    def __init__(self, folder: Path, libraries: Path, env: dict[str, str]) -> None:
        self.folder, self.env = folder, env
        self._uv("venv", "--python", libraries, folder)
        (site,) = folder.glob("[Ll]ib/**/site-packages")
        (borrowed,) = libraries.parent.parent.glob("[Ll]ib/**/site-packages")
        (site / "libraries.pth").write_text(str(borrowed), encoding="utf-8")

    def _uv(self, *argv: str | Path) -> None:
        subprocess.run([uv.find_uv_bin(), *argv, "--quiet"], env=self.env, check=True)

    def install(self, *sources: str | Path) -> None:
        """Install packages from folders: a wheel is built from a folder, an ``--editable=folder`` is used in place."""
        python = python_of(self.folder)
        self._uv("pip", "install", "--python", python, "--no-deps", "--no-build-isolation", *map(str, sources))

    def run(self, *argv: str | Path, cwd: Path, **env: str) -> CompletedProcess[str]:
        program = python_of(self.folder).with_name(str(argv[0])) if argv[0] == "repro" else python_of(self.folder)
        arguments = argv[1:] if argv[0] == "repro" else argv
        return subprocess.run(
            [program, *arguments], cwd=cwd, env=self.env | env, capture_output=True, encoding="utf-8", check=False
        )


@pytest.fixture
def environment(bare_python: Path, clean_env: dict[str, str], tmp_path: Path) -> Callable[..., Environment]:
    """`environment(*sources, at=folder)`: a new virtual environment with these packages installed."""

    def made(*sources: str | Path, at: Path = tmp_path / "venv") -> Environment:
        made = Environment(at, bare_python, clean_env)
        made.install(*sources)
        return made

    return made


@pytest.fixture
def decoy(tmp_path: Path) -> Path:
    """Another project. Everything is started in its folder, and scripts lie in it: that must not count."""
    decoy = make_project(tmp_path / "decoy")
    for script in ("print_root.py", "open_a_database.py"):
        shutil.copy(SCRIPTS / script, decoy)
    return decoy


def root_from(environment: Environment, decoy: Path, **env: str) -> str:
    done = environment.run("print_root.py", cwd=decoy, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["src/{name}/__init__.py", "{name}.py"], ids=["src", "flat"])
def test_a_project_with_the_machinery_in_packages(
    environment: Callable[..., Environment], decoy: Path, tmp_path: Path, module: str
) -> None:
    project = make_project(tmp_path / "zoo", module)
    made = environment(f"--editable={add_machinery(project)}", f"--editable={project}")
    assert root_from(made, decoy) == str(project)


def test_a_project_in_a_subfolder_of_a_monorepo(
    environment: Callable[..., Environment], decoy: Path, tmp_path: Path
) -> None:
    project, neighbour = (make_project(tmp_path / "mono" / "teams" / name) for name in ("zoo", "farm"))
    made = environment(f"--editable={add_machinery(project)}", f"--editable={neighbour}")
    assert root_from(made, decoy) == str(project)


def test_a_machinery_that_a_monorepo_shares_serves_the_one_project_that_is_installed(
    environment: Callable[..., Environment], decoy: Path, tmp_path: Path
) -> None:
    machinery = add_machinery(tmp_path / "mono")
    project, neighbour = (make_project(tmp_path / "mono" / name) for name in ("zoo", "farm"))
    made = environment(f"--editable={machinery}", f"--editable={project}")
    assert root_from(made, decoy) == str(project)
    assert root_from(made, decoy, REPRODUCIBILITY_PROJECT=str(neighbour)) == str(neighbour)

    made.install(f"--editable={neighbour}")
    done = made.run("print_root.py", cwd=decoy)
    assert done.returncode == 2
    assert f"packages of several projects: {neighbour} and {project}. To fix it: " in done.stderr
    assert root_from(made, decoy, REPRODUCIBILITY_PROJECT=str(project)) == str(project)


def test_a_machinery_installed_as_a_wheel_serves_the_project_used_in_place(
    environment: Callable[..., Environment], decoy: Path, tmp_path: Path
) -> None:
    project = make_project(tmp_path / "zoo")
    made = environment(add_machinery(tmp_path / "elsewhere"), f"--editable={project}")
    assert not list(tmp_path.glob("venv/**/*reproducibility*.pth"))  # a copy of the code, not the folder
    assert root_from(made, decoy) == str(project)


def test_an_environment_inside_the_project_serves_it(
    environment: Callable[..., Environment], decoy: Path, tmp_path: Path
) -> None:
    project = make_project(tmp_path / "zoo")
    made = environment(add_machinery(tmp_path / "elsewhere"), at=project / ".venv")
    assert root_from(made, decoy) == str(project)


def test_a_variable_that_names_no_project_is_refused(
    environment: Callable[..., Environment], decoy: Path, tmp_path: Path
) -> None:
    made = environment(f"--editable={add_machinery(make_project(tmp_path / 'zoo'))}")
    done = made.run("print_root.py", cwd=decoy, REPRODUCIBILITY_PROJECT=str(tmp_path))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: REPRODUCIBILITY_PROJECT: {tmp_path} has no configs/base.yaml. To fix it: ")


def test_without_a_project_everything_ends_in_one_line_and_no_database_opens(
    environment: Callable[..., Environment], decoy: Path, tmp_path: Path
) -> None:
    made = environment(add_machinery(tmp_path / "elsewhere"))
    what = f"no folder with configs/base.yaml belongs to this environment ({made.folder})"
    problem = f"Error: project: {what}. To fix it: "
    for command in (["print_root.py"], ["repro", "train", "configs/base.yaml"], ["repro", "validate", "last"]):
        done = made.run(*command, cwd=decoy)
        assert (done.returncode, done.stdout) == (2, ""), command
        (line,) = done.stderr.splitlines()
        assert line.startswith(problem), command
    assert made.run("repro", "--help", cwd=decoy).returncode == 0

    database = tmp_path / "some.db"
    done = made.run("open_a_database.py", database, cwd=decoy)
    imported, refused = done.stdout.splitlines()
    assert (done.returncode, imported) == (0, "imported"), done.stderr
    assert refused.startswith(problem.replace("Error", "refused")), refused
    assert not database.exists()
    # MLflow says that plain runs get no provenance.
    assert what in done.stderr
