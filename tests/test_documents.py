"""What a user reads: the READMEs and the pages of docs/ name only what exists, and show what a user sees."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
from reproducibility import Config, cli, experiment_command


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


def test_the_readme_of_a_project_is_short_and_leads_to_every_page(project: Path) -> None:
    readme = project.joinpath("README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= 80
    pages = {path.relative_to(project).as_posix() for path in project.glob("docs/*.md")}
    assert len(pages) > 5
    assert pages <= set(re.findall(r"\]\(([^)]+)\)", readme))


def test_every_link_inside_a_project_leads_to_a_file(project: Path, template: Path) -> None:
    for document in (*project.rglob("*.md"), template / "README.md", template / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text("utf-8")):
            if "://" not in target:
                assert (document.parent / unquote(target)).exists(), f"{document}: {target}"


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
