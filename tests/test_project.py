"""The generated project as it lies there: its exact files, its own lint, its words."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import click
import pytest
from reproducibility import Config, cli, experiment_command
from workbench import SCRIPTS

# All but packages/, which is the template's folder of that name to the byte.
FILES = """
.dockerignore
.gitattributes
.github/pull_request_template.md
.github/workflows/ml-validation.yml
.github/workflows/recorded-run.yml
.gitignore
.pre-commit-config.yaml
Dockerfile
README.md
compose.yaml
configs/base.yaml
configs/ci.yaml
configs/experiment.yaml
configs/server.ini
data/README.md
data/penguins.csv
docs/checklist.svg
docs/gitlab-ci.yml
docs/on-github.md
docs/on-gitlab.md
docs/threads-and-processes.md
docs/when-the-server-is-away.md
noxfile.py
pyproject.toml
requirements-dev.txt
requirements-server.txt
requirements.txt
scripts/train.py
src/penguin_classifier/__init__.py
src/penguin_classifier/config.py
src/penguin_classifier/data.py
src/penguin_classifier/experiment.py
src/penguin_classifier/model.py
templates/experiment.py
tests/conftest.py
tests/test_config.py
tests/test_data.py
tests/test_experiment.py
tests/test_model.py
""".split()


def test_the_project_has_exactly_these_files(project: Path, template: Path) -> None:
    committed = subprocess.check_output(["git", "-C", project, "ls-files"], text=True).split()
    assert [name for name in committed if not name.startswith("packages/")] == sorted(FILES)
    source = template / "<<cookiecutter.project_slug>>"
    packages = [path for path in (source / "packages").rglob("*") if path.is_file()]
    expected = {
        path.relative_to(source).as_posix(): path
        for path in packages
        if not {"__pycache__", ".ruff_cache"} & {*path.parts}
    }
    assert [name for name in committed if name.startswith("packages/")] == sorted(expected)
    for name, path in expected.items():
        assert (project / name).read_bytes() == path.read_bytes(), name


# The shortest and the longest package name, and one for which an import line has another place.
@pytest.mark.parametrize("project_name", ["A", "a" * 40, "Zoo"])
def test_its_own_lint_passes_whatever_its_name(project_name: str, render, run_in, tmp_path: Path) -> None:
    rendered = render({"project_name": project_name}, tmp_path, "--accept-hooks=no")
    assert rendered.returncode == 0, rendered.stderr
    (project,) = tmp_path.iterdir()
    for command in (["check", "."], ["format", "--check", "."]):
        done = run_in(project, "ruff", *command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_copied_never_names_the_package_or_the_generator(template: Path) -> None:
    project = template / "<<cookiecutter.project_slug>>"
    sources = [
        *(project / "src").rglob("*.py"),
        *(p for p in (project / "packages").rglob("*.*") if p.suffix != ".pyc"),
    ]
    assert len(sources) > 50
    for path in filter(Path.is_file, sources):
        text = path.read_text("utf-8", errors="replace")
        assert "cookiecutter" not in text.lower(), path
        assert "penguin" not in text.lower() or "src" == path.relative_to(project).parts[0], path
        assert not re.search(r"^\s*(from|import) penguin", text, re.MULTILINE), path


def test_every_pin_in_the_locks_has_hashes_and_no_lock_names_where_it_came_from(project: Path) -> None:
    for lock in project.glob("requirements*.txt"):
        text = lock.read_text("utf-8")
        for pin in re.split(r"\n(?=\S)", text):
            assert pin.startswith("#") or "--hash=sha256:" in pin, pin[:80]
        assert "://" not in text


def test_the_locks_agree_with_each_other(project: Path) -> None:
    def pins(lock: str) -> dict[str, str]:
        # Without the marker: a tool of the development lock may need a package on more platforms.
        return dict(re.findall(r"^(\S+?)==(\S+) .*\\$", (project / lock).read_text("utf-8"), re.MULTILINE))

    training, development, server = map(pins, ("requirements.txt", "requirements-dev.txt", "requirements-server.txt"))
    assert training.items() < development.items()
    assert training["mlflow-skinny"] == server["mlflow-skinny"] == server["mlflow"]
    # What talks to S3 wants an older python-dateutil, which in turn needs no time zones beside the system's.
    both = training.keys() & server.keys()
    assert {name for name in both if training[name] != server[name]} <= {"python-dateutil", "tzdata"}


WHERE = {  # a requirement that no index has, and the settings that say where it is
    "git": ("left-pad @ git+file://{folder}", ""),
    "a folder": ("left-pad @ file://{folder}", ""),
    "a folder by its path": ("left-pad", '[tool.uv.sources]\nleft-pad = {{ path = "{folder}" }}\n'),
    "a folder in place": ("left-pad", '[tool.uv.sources]\nleft-pad = {{ path = "{folder}", editable = true }}\n'),
}


@pytest.mark.parametrize("where", WHERE)
def test_a_requirement_that_no_index_has_ends_nox_lock_and_changes_no_lock(
    where: str, fresh_project: Path, run_in, tmp_path: Path
) -> None:
    folder = tmp_path / "left-pad"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "left-pad"\nversion = "1.3"\n', encoding="utf-8")
    for command in ("git init -q", "git add .", "git -c user.name=Ada -c user.email=ada@example.com commit -qm first"):
        run_in(folder, *command.split(), check=True)
    requirement, settings = (text.format(folder=folder.as_posix()) for text in WHERE[where])
    file = fresh_project / "pyproject.toml"
    text = file.read_text("utf-8").replace('dependencies = ["', f'dependencies = ["{requirement}", "')
    file.write_text(f"{text}\n{settings}", encoding="utf-8")
    done = run_in(fresh_project, "nox", "-s", "lock", env={"PYTHONPATH": None})
    assert done.returncode == 1, done.stdout + done.stderr
    told = " ".join((done.stdout + done.stderr).split())
    assert "left-pad" in told and ": from git, a folder or an address, and in no index" in told
    assert "Publish a wheel of it in a package index, or move its code into src/" in told
    assert run_in(fresh_project, "git", "status", "--porcelain", check=True).stdout == " M pyproject.toml\n"


@pytest.mark.whole
def test_nox_lock_keeps_to_the_versions_that_are_locked(fresh_project: Path, run_in) -> None:
    done = run_in(fresh_project, "nox", "-s", "lock", env={"PYTHONPATH": None, "UV_RESOLUTION": "lowest"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert run_in(fresh_project, "git", "status", "--porcelain", check=True).stdout == ""


def test_the_sessions_take_from_a_shell_only_where_packages_come_from(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"UV_CACHE_DIR", "UV_INDEX_URL", "UV_INDEX_OURS_PASSWORD", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL"}
    kept |= {"UV_PYTHON_INSTALL_DIR", "UV_NATIVE_TLS", "SSL_CERT_FILE", "HTTPS_PROXY", "UV"}
    dropped = {
        "UV_REQUIRE_HASHES",
        "UV_RESOLUTION",
        "UV_PRERELEASE",
        "UV_EXCLUDE_NEWER",
        "UV_OVERRIDE",
        "UV_CONSTRAINT",
    }
    dropped |= {"UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_CONFIG_FILE", "UV_TORCH_BACKEND", "UV_NO_BINARY"}
    for name in kept | dropped:
        monkeypatch.setenv(name, "x")
    runpy.run_path(str(project / "noxfile.py"))
    assert (kept | dropped) & os.environ.keys() == kept


def test_the_sessions_use_the_index_that_a_shell_names_for_pip(project: Path, clean_env: dict[str, str]) -> None:
    env = {name: value for name, value in clean_env.items() if not name.startswith("UV_")}
    env["PIP_INDEX_URL"] = "https://packages.example.com/simple"
    command = [sys.executable, SCRIPTS / "print_index.py", project / "noxfile.py"]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == env["PIP_INDEX_URL"]


def test_every_task_that_a_document_names_exists(project: Path, template: Path, run_in) -> None:
    def tasks(folder: Path) -> set[str]:
        listed = run_in(folder, "nox", "--list", check=True)
        return set(re.findall(r"^[*-] (\w+)", listed.stdout, re.MULTILINE))

    of_project, of_template = tasks(project), tasks(template)
    for document in (path for kind in ("md", "yaml", "yml", "py") for path in project.rglob(f"*.{kind}")):
        named = set(re.findall(r"nox -s (\w+)", document.read_text("utf-8")))
        assert named <= of_project, document
    for document in (template / "README.md", template / "CONTRIBUTING.md", *template.glob(".github/*/*.yml")):
        named = set(re.findall(r"nox -s (\w+)", document.read_text("utf-8")))
        assert named <= of_project | of_template, document


def documents(project: Path, template: Path) -> list[Path]:
    """What a user reads: the Markdown and the configs of a project, and the README of the template."""
    return [*project.rglob("*.md"), *project.rglob("*.yaml"), *project.rglob("*.yml"), template / "README.md"]


def test_every_repro_command_that_a_document_names_exists(project: Path, template: Path, run_in) -> None:
    def listed(*group: str) -> set[str]:
        text = run_in(project, "repro", *group, "--help", check=True, fresh=True).stdout.partition("Commands:\n")[2]
        return set(re.findall(r"^  (\w+)  ", text, re.MULTILINE))

    commands, of_server = listed(), listed("server")
    assert {"train", "validate", "server"} <= commands and {"backup", "run"} <= of_server
    for document in documents(project, template):
        text = document.read_text("utf-8")
        assert set(re.findall(r"`repro (\w+)", text)) <= commands, document
        assert set(re.findall(r"`repro server (\w+)", text)) <= of_server, document


def test_every_option_that_a_document_names_exists(project: Path, template: Path) -> None:
    def options(command: click.Command) -> set[str]:
        return {option for parameter in command.params for option in parameter.opts}

    of = {name: options(command) for name, command in cli.repro.commands.items()}
    for command in cli.repro.commands["server"].commands.values():
        of["server"] |= options(command)
    of["train"] = options(experiment_command(Config, lambda config: ""))
    every = set().union(*of.values())
    for document in documents(project, template):
        for span in re.findall(r"`([^`\n]+)`", document.read_text("utf-8")):
            named = set(re.findall(r"(?<!\S)(--[a-z][a-z-]+)", span))
            task = re.match(r"(?:repro|nox -s) (\w+)", span)
            if task and task[1] in of:
                assert named <= of[task[1]], f"{document}: {span}"
            elif re.fullmatch(r"--[a-z-]+( [A-Z_]+)?", span):
                assert named <= every, f"{document}: {span}"


def tree(document: Path, heading: str) -> list[str]:
    """The paths in the first code block after a heading: the first word of a line, indented ones in the one above."""
    block = document.read_text("utf-8").partition(heading)[2].split("```")[1]
    paths, above = [], ""
    for line in block.strip("\n").splitlines():
        path = line.split()[0]
        above = above if line.startswith(" ") else path
        paths.append(f"{above}{path}" if line.startswith(" ") else path)
    return paths


@pytest.mark.parametrize(
    ("document", "heading"),
    [("README.md", "## What you get"), ("CONTRIBUTING.md", "## Where things are")],
)
def test_every_path_in_the_trees_of_the_template_exists(
    document: str, heading: str, project: Path, template: Path
) -> None:
    root = project if document == "README.md" else template
    paths = tree(template / document, heading)
    assert len(paths) > 5
    for path in paths:
        assert (root / path.replace("<package>", "penguin_classifier")).exists(), path


def test_every_room_of_the_machinery_is_in_its_drawings(template: Path) -> None:
    machinery = template / "<<cookiecutter.project_slug>>" / "packages" / "reproducibility"
    rooms = [
        path for path in (machinery / "src" / "reproducibility").iterdir() if path.suffix == ".py" or path.is_dir()
    ]
    names = {path.stem for path in rooms} - {"__init__", "__pycache__"}
    for document in (machinery / "README.md", template / "CONTRIBUTING.md"):
        drawing = document.read_text("utf-8").partition("## The rooms")[2].split("```")[1]
        drawn = {word for line in drawing.splitlines() for word in line.partition("   ")[0].split()}
        assert drawn == names, document


def test_every_file_that_contributing_names_exists(template: Path) -> None:
    project = template / "<<cookiecutter.project_slug>>"
    places = [template, project, project / "packages" / "reproducibility" / "src" / "reproducibility"]
    named = re.findall(r"`([\w./-]+(?:/|\.\w+))`", (template / "CONTRIBUTING.md").read_text("utf-8"))
    assert len(named) > 10
    for name in named:
        assert any((place / name).exists() for place in places), name


def test_every_path_in_the_tree_of_the_project_exists(project: Path) -> None:
    paths = tree(project / "README.md", "## Where things are")
    assert len(paths) > 5
    for path in paths:
        assert (project / path).exists(), path


def test_the_refusal_shown_in_the_readme_is_what_a_user_sees(
    project: Path, template: Path, run_in, tmp_path: Path
) -> None:
    shown = template.joinpath("README.md").read_text("utf-8").partition("What refusing looks like")[2].split("```")[1]
    unborn = tmp_path / "penguin-classifier"
    for name in subprocess.check_output(["git", "-C", project, "ls-files"], text=True).split():
        if name != "data/penguins.csv":
            unborn.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
            unborn.joinpath(name).write_bytes(project.joinpath(name).read_bytes())
    run_in(unborn, "git", "init", "--quiet", check=True)
    refused = run_in(unborn, "repro", "train", "configs/experiment.yaml", env={"AUTHOR": "Ada"}, fresh=True)
    assert refused.returncode == 2
    assert refused.stderr.replace(str(unborn), "penguin-classifier").split() == shown.split()
