"""The generated project as it lies there: its exact files, its own lint, its words."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

FILES = """
.dockerignore
.gitattributes
.github/pull_request_template.md
.github/workflows/ml-validation.yml
.gitignore
.pre-commit-config.yaml
Dockerfile
README.md
compose.yaml
configs/base.yaml
configs/experiment.yaml
configs/server.ini
data/README.md
data/penguins.csv
docs/checklist.svg
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
src/penguin_classifier/reproducibility/__init__.py
src/penguin_classifier/reproducibility/admin_login.py
src/penguin_classifier/reproducibility/admission.py
src/penguin_classifier/reproducibility/artifact_guard.py
src/penguin_classifier/reproducibility/audit.py
src/penguin_classifier/reproducibility/audit_report.py
src/penguin_classifier/reproducibility/backup.py
src/penguin_classifier/reproducibility/blob.py
src/penguin_classifier/reproducibility/build.py
src/penguin_classifier/reproducibility/cause.py
src/penguin_classifier/reproducibility/chart.py
src/penguin_classifier/reproducibility/checkout.py
src/penguin_classifier/reproducibility/checklist/__init__.py
src/penguin_classifier/reproducibility/checklist/ancestry.py
src/penguin_classifier/reproducibility/checklist/checklist.py
src/penguin_classifier/reproducibility/checklist/commit_reviewed.py
src/penguin_classifier/reproducibility/checklist/config_committed.py
src/penguin_classifier/reproducibility/checklist/data_tracked.py
src/penguin_classifier/reproducibility/checklist/item.py
src/penguin_classifier/reproducibility/checklist/parameters_logged.py
src/penguin_classifier/reproducibility/checklist/proof.py
src/penguin_classifier/reproducibility/checklist/pull_request.py
src/penguin_classifier/reproducibility/checklist/report.py
src/penguin_classifier/reproducibility/checklist/requirements_updated.py
src/penguin_classifier/reproducibility/checklist/review.py
src/penguin_classifier/reproducibility/checklist/seed_works.py
src/penguin_classifier/reproducibility/cli.py
src/penguin_classifier/reproducibility/code_difference.py
src/penguin_classifier/reproducibility/command.py
src/penguin_classifier/reproducibility/comparison.py
src/penguin_classifier/reproducibility/completion.py
src/penguin_classifier/reproducibility/compose.py
src/penguin_classifier/reproducibility/condition.py
src/penguin_classifier/reproducibility/config_file.py
src/penguin_classifier/reproducibility/container.py
src/penguin_classifier/reproducibility/content.py
src/penguin_classifier/reproducibility/context.py
src/penguin_classifier/reproducibility/data_version.py
src/penguin_classifier/reproducibility/deployment.py
src/penguin_classifier/reproducibility/diff.py
src/penguin_classifier/reproducibility/difference.py
src/penguin_classifier/reproducibility/difference_page.css
src/penguin_classifier/reproducibility/difference_page.py
src/penguin_classifier/reproducibility/difference_table.py
src/penguin_classifier/reproducibility/digest.py
src/penguin_classifier/reproducibility/engine.py
src/penguin_classifier/reproducibility/environment.py
src/penguin_classifier/reproducibility/evidence.py
src/penguin_classifier/reproducibility/explanation.py
src/penguin_classifier/reproducibility/export.py
src/penguin_classifier/reproducibility/failure.py
src/penguin_classifier/reproducibility/file_archive.py
src/penguin_classifier/reproducibility/gate.py
src/penguin_classifier/reproducibility/gated_app.py
src/penguin_classifier/reproducibility/gated_registry.py
src/penguin_classifier/reproducibility/gated_store.py
src/penguin_classifier/reproducibility/git.py
src/penguin_classifier/reproducibility/git_command.py
src/penguin_classifier/reproducibility/image.py
src/penguin_classifier/reproducibility/imported_code.py
src/penguin_classifier/reproducibility/interruption.py
src/penguin_classifier/reproducibility/judgement.py
src/penguin_classifier/reproducibility/kinship.py
src/penguin_classifier/reproducibility/locked_environment.py
src/penguin_classifier/reproducibility/metric_difference.py
src/penguin_classifier/reproducibility/metric_history.py
src/penguin_classifier/reproducibility/place.py
src/penguin_classifier/reproducibility/plot.py
src/penguin_classifier/reproducibility/policy.py
src/penguin_classifier/reproducibility/process.py
src/penguin_classifier/reproducibility/progress.py
src/penguin_classifier/reproducibility/project.py
src/penguin_classifier/reproducibility/promotion.py
src/penguin_classifier/reproducibility/provenance.py
src/penguin_classifier/reproducibility/recorded_run.py
src/penguin_classifier/reproducibility/recovered_data.py
src/penguin_classifier/reproducibility/relay.py
src/penguin_classifier/reproducibility/reproduction.py
src/penguin_classifier/reproducibility/second_run.py
src/penguin_classifier/reproducibility/secret.py
src/penguin_classifier/reproducibility/seeding.py
src/penguin_classifier/reproducibility/server.py
src/penguin_classifier/reproducibility/server_settings.py
src/penguin_classifier/reproducibility/snapshot.py
src/penguin_classifier/reproducibility/source.py
src/penguin_classifier/reproducibility/stat_cache.py
src/penguin_classifier/reproducibility/step_output.py
src/penguin_classifier/reproducibility/store.py
src/penguin_classifier/reproducibility/strict_yaml.py
src/penguin_classifier/reproducibility/testimony.py
src/penguin_classifier/reproducibility/tracking.py
src/penguin_classifier/reproducibility/url.py
src/penguin_classifier/reproducibility/validation.py
src/penguin_classifier/reproducibility/verdict.py
src/penguin_classifier/reproducibility/verdict_report.py
src/penguin_classifier/reproducibility/violation.py
src/penguin_classifier/reproducibility/yaml_value.py
templates/experiment.py
tests/conftest.py
tests/test_config.py
tests/test_data.py
tests/test_experiment.py
tests/test_model.py
""".split()


def test_the_project_has_exactly_these_files(project: Path) -> None:
    committed = subprocess.check_output(["git", "-C", project, "ls-files"], text=True)
    assert committed.split() == sorted(FILES)


# The longest package name that an answer can give, and one for which an import line has another place.
@pytest.mark.parametrize("project_name", ["Penguin Classifier", "a" * 40, "Zoo"])
def test_its_own_lint_passes_whatever_its_name(project_name: str, render, run_in, tmp_path: Path) -> None:
    rendered = render({"project_name": project_name}, tmp_path)
    assert rendered.returncode == 0, rendered.stderr
    (project,) = tmp_path.iterdir()
    for command in (["check", "."], ["format", "--check", "."]):
        done = run_in(project, "ruff", *command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_name_appears_nowhere_in_the_package(template: Path) -> None:
    source = template / "<<cookiecutter.project_slug>>" / "src" / "<<cookiecutter.package_name>>"
    for path in source.rglob("*.py"):
        text = path.read_text("utf-8")
        assert "cookiecutter" not in text, path
        assert not re.search(r"^\s*(from|import) penguin", text, re.MULTILINE), path


def names_in(statement: ast.ImportFrom) -> list[str]:
    return [alias.name for alias in statement.names]


def test_imports_in_the_machinery_go_one_way(project: Path) -> None:
    machinery = project / "src" / "penguin_classifier" / "reproducibility"
    imports: dict[str, set[str]] = {}
    for path in machinery.rglob("*.py"):
        own = path.relative_to(machinery).with_suffix("")
        statements = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
        imports[own.as_posix()] = {
            "/".join((*own.parts[: -node.level], *name.split(".")))
            for node in statements
            if 0 < node.level <= len(own.parts) and own.name != "__init__"
            for name in ([node.module] if node.module else names_in(node))
        }
    # Take away, again and again, what imports nothing that is left; what remains imports itself in a circle.
    while free := {name for name, needed in imports.items() if not needed & imports.keys()}:
        imports = {name: needed for name, needed in imports.items() if name not in free}
    assert not imports


def test_your_rooms_use_the_machinery_through_its_front_door_only(project: Path) -> None:
    for room in (project / "src" / "penguin_classifier").glob("*.py"):
        text = room.read_text("utf-8")
        assert not re.search(r"reproducibility\.\w+ import", text), room


def test_every_pin_in_the_locks_has_hashes_and_no_lock_names_where_it_came_from(project: Path) -> None:
    for lock in project.glob("requirements*.txt"):
        text = lock.read_text("utf-8")
        for pin in re.split(r"\n(?=\S)", text):
            assert pin.startswith("#") or "--hash=sha256:" in pin, pin[:80]
        assert "://" not in text


def test_the_locks_agree_with_each_other(project: Path) -> None:
    pins = {
        lock.name: set(re.findall(r"^\S+==.*?(?= \\$)", lock.read_text(), re.M)) for lock in project.glob("req*.txt")
    }
    assert pins["requirements.txt"] < pins["requirements-dev.txt"]
    # What talks to S3 wants an older python-dateutil, which in turn needs no time zones beside the system's.
    others = {re.split("[= ]", pin)[0] for pin in pins["requirements.txt"] - pins["requirements-server.txt"]}
    assert others == {"python-dateutil", "tzdata"}


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


def test_every_repro_command_that_a_document_names_exists(project: Path, template: Path, run_in) -> None:
    commands = set(re.findall(r"^    (\w+)  ", run_in(project, "repro", "--help", check=True).stdout, re.MULTILINE))
    for document in [*project.rglob("*.md"), *project.rglob("*.yaml"), template / "README.md"]:
        assert set(re.findall(r"`repro (\w+)", document.read_text("utf-8"))) <= commands, document


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
    refused = run_in(unborn, "repro", "train", "configs/experiment.yaml", env={"AUTHOR": "Ada"})
    assert refused.returncode == 2
    assert refused.stderr.replace(str(unborn), "penguin-classifier").split() == shown.split()
