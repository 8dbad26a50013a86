"""The generated project as it lies there: its exact files, its own lint, its locks."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from workbench import SCRIPTS

# All but packages/, which is the template's folder of that name to the byte.
FILES = """
.dockerignore
.gitattributes
.github/pull_request_template.md
.github/workflows/ml-validation.yml
.github/workflows/recorded-run.yml
.github/workflows/template-update.yml
.gitignore
.pre-commit-config.yaml
Dockerfile
README.md
compose.yaml
configs/base.yaml
configs/ci.yaml
configs/experiment.yaml
configs/server.ini
configs/sweep.yaml
data/README.md
data/penguins.csv
docs/checklist.md
docs/checklist.svg
docs/container.md
docs/diff.md
docs/gitlab-ci.yml
docs/on-github.md
docs/on-gitlab.md
docs/ramp.md
docs/reproduce.md
docs/runs.md
docs/security.md
docs/server.md
docs/sweeps.md
docs/threads-and-processes.md
docs/updates.md
docs/when-the-server-is-away.md
docs/windows-and-macos.md
docs/your-own-experiment.md
noxfile.py
pyproject.toml
requirements-dev.txt
requirements-server.txt
requirements-sweep.txt
requirements-update.txt
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
    # What notes the template and updates the project from it, and what locks the program that renders it.
    may_name_it = {"template.py", "update", "cli.py", "pyproject.toml"}
    for path in filter(Path.is_file, sources):
        text = path.read_text("utf-8", errors="replace")
        if not may_name_it & {path.name, path.parent.name}:
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

    names = ("requirements.txt", "requirements-dev.txt", "requirements-server.txt", "requirements-update.txt")
    training, development, server, update = map(pins, names)
    assert training.items() < development.items()
    assert {name for name in update if update[name] != training.get(name, update[name])} == set()
    assert "cookiecutter" in update and "cookiecutter" not in training | development | server
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
    text = file.read_text("utf-8").replace("dependencies = [", f'dependencies = ["{requirement}", ')
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
