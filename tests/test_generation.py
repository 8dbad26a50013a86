"""Generation makes a committed, finished project anywhere, and touches nothing but its own folder."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import uv
from conftest import TEMPLATE, Render, python_of

sys.path.insert(0, str(TEMPLATE))
from upstream import template_repository

from template_origin import without_credentials

QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
ASKED = [question for question in QUESTIONS if not question.startswith("_")]
ADA = "Ada Lovelace <ada@example.com>"
SLUG = "penguin-classifier"


@pytest.fixture
def git(clean_env: dict[str, str]):
    """`git(folder, *arguments)` returns what git prints there, as somebody without any settings."""

    def printed(folder: Path, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], env=clean_env, check=True, capture_output=True, encoding="utf-8"
        )
        return done.stdout.strip()

    return printed


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file's bytes by its path; the insides of `.git` left out."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {path.as_posix(): (folder / path).read_bytes() for path in paths if ".git" not in path.parts}


def answers_of(project: Path) -> dict[str, str]:
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["cookiecutter"]


def settings_file(path: Path, text: str) -> dict[str, str]:
    """The environment of somebody whose global git configuration is this text."""
    path.write_text(text, encoding="utf-8")
    return {"GIT_CONFIG_GLOBAL": str(path)}


def blob_id(content: bytes) -> str:
    """The id under which git keeps a file of this content to the byte."""
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


def assert_first_commit(git, project: Path) -> None:
    assert git(project, "rev-list", "--count", "--all") == "1"
    assert git(project, "symbolic-ref", "HEAD") == "refs/heads/main"
    assert git(project, "status", "--porcelain", "--ignored") == ""
    listed = git(project, "ls-tree", "-r", "--format=%(objectname) %(path)", "-z", "HEAD").split("\0")
    committed = dict(reversed(line.split(" ", maxsplit=1)) for line in filter(None, listed))
    assert committed == {name: blob_id(content) for name, content in files_of(project).items()}


# The template and its questions


def test_the_oldest_cookiecutter_that_is_allowed_renders_the_template(
    clean_env: dict[str, str], tmp_path: Path
) -> None:
    allowed = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    (floor,) = (each.partition(">=")[2] for each in allowed if each.startswith("cookiecutter>="))
    python = python_of(tmp_path / "venv")
    for command in (
        ("venv", "--quiet", "--python", sys.executable, tmp_path / "venv"),
        ("pip", "install", "--quiet", "--python", python, f"cookiecutter=={floor}"),
    ):
        subprocess.run([uv.find_uv_bin(), *command], env=clean_env, check=True)
    render = [python, "-m", "cookiecutter", "--no-input", "--output-dir", tmp_path, TEMPLATE]
    done = subprocess.run(render, env=clean_env, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert answers_of(tmp_path / SLUG)["project_name"]


def test_each_question_is_explained_and_no_other_is_asked() -> None:
    assert ASKED == ["project_name", "description", "author", "tracking_uri", "python_version"]
    assert list(QUESTIONS["__prompts__"]) == ASKED


def test_names_are_derived_and_cannot_be_answered(render: Render, tmp_path: Path) -> None:
    answers = {"project_name": "Snow & Ice", "project_slug": "evil", "package_name": "evil"}
    done = render(answers, tmp_path, "--accept-hooks=no")
    assert done.returncode == 0, done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["snow-ice"]
    assert [path.name for path in (tmp_path / "snow-ice" / "src").iterdir()] == ["snow_ice"]


@pytest.mark.parametrize("version", QUESTIONS["python_version"])
def test_each_python_can_be_chosen(version: str, render: Render, tmp_path: Path) -> None:
    done = render({"python_version": version}, tmp_path, "--accept-hooks=no")
    assert done.returncode == 0, done.stdout
    written = tomllib.loads((tmp_path / SLUG / "pyproject.toml").read_text(encoding="utf-8"))
    assert written["tool"]["cookiecutter"]["python_version"] == version
    assert written["project"]["requires-python"] == f">={version}"


def test_nothing_is_left_unrendered(project: Path) -> None:
    for name, content in files_of(project).items():
        text = f"{name}\n{content.decode('utf-8', errors='ignore')}"
        assert not re.search(r"<<|<%|<#|cookiecutter\.[a-z]", text.replace("[tool.cookiecutter]", "")), name


def test_rendering_again_gives_the_same_bytes(project: Path, render: Render, tmp_path: Path) -> None:
    assert render({}, tmp_path).returncode == 0
    assert files_of(tmp_path / SLUG) == files_of(project)


def test_answers_typed_at_the_prompts_are_taken_as_they_are(clean_env: dict[str, str], tmp_path: Path) -> None:
    typed = ["Ice << 7*7 >>", "<% x", ADA, "", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "cookiecutter", str(TEMPLATE)],
        input="\n".join(typed) + "\n",
        env=clean_env | {"COLUMNS": "200"},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for question in ASKED:
        assert QUESTIONS["__prompts__"][question] in done.stdout
    noted = answers_of(tmp_path / "ice-7-7")
    assert [noted[question] for question in ASKED] == [
        *typed[:3], QUESTIONS["tracking_uri"], QUESTIONS["python_version"][1]
    ]  # fmt: skip


@pytest.fixture
def upstream(clean_env: dict[str, str], tmp_path: Path) -> Path:
    return template_repository(tmp_path / "upstream", clean_env).path


def test_template_on_github_is_rendered_and_noted(
    render: Render, git, upstream: Path, project: Path, clean_env: dict[str, str], tmp_path: Path
) -> None:
    """`cookiecutter gh:org/template`, with a rewrite of the address in the place of GitHub."""
    rewrite = f'[url "{upstream.as_posix()}"]\n\tinsteadOf = https://github.com/org/template.git\n'
    env = settings_file(tmp_path / "gitconfig", rewrite)
    # A home of its own, because Cookiecutter keeps the clone there.
    env |= {"HOME": str(tmp_path / "home"), "USERPROFILE": str(tmp_path / "home")}

    done = render({}, tmp_path / "out", env=env, source="gh:org/template")

    assert done.returncode == 0, done.stdout + done.stderr
    theirs, ours = files_of(tmp_path / "out" / SLUG), files_of(project)
    assert theirs.pop("pyproject.toml") != ours.pop("pyproject.toml")
    assert theirs == ours
    noted = answers_of(tmp_path / "out" / SLUG)
    assert noted["template"] == "https://github.com/org/template.git"
    assert noted["commit"] == git(upstream, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("address", "noted"),
    [
        ("https://ada:secret@example.org/a.git?token=secret#x", "https://example.org/a.git"),
        ("https://ada:se/cret@example.org:8443/a.git", "https://example.org:8443/a.git"),
        ("https://example.org/a@b.git", "https://example.org/a@b.git"),
        ("ssh://git:secret@example.org/a.git", "ssh://git@example.org/a.git"),
        ("git@example.org:a.git", "git@example.org:a.git"),
        ("ada:secret@example.org:a.git", "example.org:a.git"),
        ("/srv/a.git", "/srv/a.git"),
    ],
)
def test_no_credentials_of_the_template_are_noted(address: str, noted: str) -> None:
    assert without_credentials(address) == noted


def test_a_template_that_no_commit_holds_is_noted_without_a_commit(
    render: Render, git, upstream: Path, tmp_path: Path
) -> None:
    """Also where a bigger repository is around a copy without a repository of its own."""
    git(upstream, "remote", "add", "origin", "https://ada:secret@example.org/template.git")
    described = upstream / "<<cookiecutter.project_slug>>" / "README.md"
    described.write_text("changed", "utf-8")
    bigger = tmp_path / "bigger"
    shutil.copytree(upstream, bigger / "template", ignore=shutil.ignore_patterns(".git"))
    git(bigger, "init", "--quiet")
    git(bigger, "add", "--all")
    git(bigger, "-c", "user.name=Org", "-c", "user.email=org@example.com", "commit", "--quiet", "-m", "More")
    for source, address in ((upstream, "https://example.org/template.git"), (bigger / "template", "")):
        done = render({}, tmp_path / source.name, "--accept-hooks=no", source=source)
        assert done.returncode == 0, done.stdout + done.stderr
        noted = answers_of(tmp_path / source.name / SLUG)
        assert (noted["template"], noted["commit"]) == (address, "")


# The first commit


def test_first_commit_holds_every_file(project: Path, git) -> None:
    assert_first_commit(git, project)


def test_author_becomes_the_identity_where_git_has_none(render: Render, git, clean_env, tmp_path: Path) -> None:
    done = render({"author": ADA}, tmp_path)
    assert f"in this repository, and nowhere else, you are now {ADA}" in done.stdout
    assert git(tmp_path / SLUG, "log", "--format=%an <%ae> %cn <%ce>") == f"{ADA} {ADA}"
    assert git(tmp_path / SLUG, "config", "--local", "user.name") == "Ada Lovelace"
    assert git(tmp_path / SLUG, "config", "--local", "user.email") == "ada@example.com"
    assert not Path(clean_env["GIT_CONFIG_GLOBAL"]).exists()
    assert not (Path(clean_env["HOME"]) / ".gitconfig").exists()


@pytest.mark.parametrize("author", ["Ada", '-Ada "the first" \\ #1; 🐧', "--global"])
def test_author_without_address_can_commit(author: str, render: Render, git, tmp_path: Path) -> None:
    done = render({"author": author}, tmp_path)
    assert done.returncode == 0, done.stdout
    assert git(tmp_path / SLUG, "config", "--local", "user.name") == author
    assert git(tmp_path / SLUG, "config", "--local", "user.email") == "noreply@localhost"
    assert_first_commit(git, tmp_path / SLUG)


@pytest.mark.parametrize(("author", "carried"), [(ADA, ADA), ("Ada", "Ada <grace@example.com>")])
def test_author_is_who_makes_it_where_git_knows_somebody_else(
    author: str, carried: str, render: Render, git, tmp_path: Path
) -> None:
    env = settings_file(tmp_path / "gitconfig", "[user]\n\tname = Grace\n\temail = grace@example.com\n")
    done = render({"author": author}, tmp_path / "out", env=env)
    assert f"in this repository, and nowhere else, you are now {carried}" in done.stdout
    assert "Elsewhere git knows you as Grace <grace@example.com>." in done.stdout
    assert git(tmp_path / "out" / SLUG, "log", "--format=%an <%ae> %cn <%ce>") == f"{carried} {carried}"
    assert "Grace" in (tmp_path / "gitconfig").read_text("utf-8")


def test_author_whom_git_knows_needs_no_setting(render: Render, git, tmp_path: Path) -> None:
    env = settings_file(tmp_path / "gitconfig", "[user]\n\tname = Ada Lovelace\n\temail = ada@example.com\n")
    done = render({"author": ADA}, tmp_path / "out", env=env)
    assert "you are now" not in done.stdout
    assert git(tmp_path / "out" / SLUG, "log", "--format=%an <%ae>") == ADA
    assert "user." not in git(tmp_path / "out" / SLUG, "config", "--local", "--list")


def test_variables_that_would_hide_the_author_are_named(render: Render, git, tmp_path: Path) -> None:
    env = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "Eve"), ("EMAIL", "e@e"))
    }
    done = render({"author": ADA}, tmp_path, env=env)
    names = "GIT_AUTHOR_NAME, GIT_AUTHOR_EMAIL, GIT_COMMITTER_NAME, GIT_COMMITTER_EMAIL"
    assert f"to be who you answered, unset {names}." in done.stdout
    assert git(tmp_path / SLUG, "log", "--format=%an <%ae> %cn <%ce>") == f"{ADA} {ADA}"


def test_half_an_identity_is_completed(render: Render, git, tmp_path: Path) -> None:
    env = settings_file(tmp_path / "gitconfig", "[user]\n\tname = Grace\n") | {"EMAIL": "somebody@example.com"}
    done = render({"author": ADA}, tmp_path / "out", env=env)
    assert f"you are now {ADA}" in done.stdout
    assert git(tmp_path / "out" / SLUG, "log", "--format=%an <%ae>") == ADA


def test_author_is_whoever_git_knows_unless_answered(render: Render, tmp_path: Path) -> None:
    env = settings_file(tmp_path / "gitconfig", "[user]\n\tname = Grace\n\temail = grace@example.com\n")
    assert render({}, tmp_path / "out", env=env).returncode == 0
    assert answers_of(tmp_path / "out" / SLUG)["author"] == "Grace <grace@example.com>"


def test_author_is_the_account_where_git_knows_nobody(render: Render, tmp_path: Path) -> None:
    done = render({}, tmp_path, env={"LOGNAME": "ada", "USER": "ada", "LNAME": "ada", "USERNAME": "ada"})
    assert done.returncode == 0, done.stdout
    assert answers_of(tmp_path / SLUG)["author"] == "ada"


HOOK = "#!/bin/sh\ntouch {ran}\nexit 1\n"


def test_users_own_git_settings_change_nothing(render: Render, git, project: Path, tmp_path: Path) -> None:
    hooks, ran = tmp_path / "hooks", tmp_path / "ran"
    for folder in (hooks, tmp_path / "skeleton" / "hooks"):
        folder.mkdir(parents=True)
        for name in ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "reference-transaction"):
            (folder / name).write_text(HOOK.format(ran=ran.as_posix()), encoding="utf-8")
            (folder / name).chmod(0o755)
    (tmp_path / "ignored").write_text("*\n", encoding="utf-8")
    (tmp_path / "skeleton" / "info").mkdir()
    (tmp_path / "skeleton" / "info" / "exclude").write_text("*.toml\n", encoding="utf-8")
    (tmp_path / "attributes").write_text("* text eol=crlf ident\n*.csv filter=broken\n", encoding="utf-8")
    env = settings_file(
        tmp_path / "gitconfig",
        f"""
        [commit]
            gpgSign = true
            template = {(tmp_path / "missing").as_posix()}
        [gpg]
            program = false
        [core]
            hooksPath = {hooks.as_posix()}
            excludesFile = {(tmp_path / "ignored").as_posix()}
            attributesFile = {(tmp_path / "attributes").as_posix()}
            autocrlf = true
            safecrlf = true
            editor = false
            fsmonitor = {(hooks / "post-commit").as_posix()}
        [filter "broken"]
            clean = false
            required = true
        [init]
            templateDir = {(tmp_path / "skeleton").as_posix()}
            defaultBranch = trunk
        [user]
            useConfigOnly = true
        """,
    )
    env |= {"GIT_TEMPLATE_DIR": str(tmp_path / "skeleton"), "GIT_DEFAULT_HASH": "sha256"}

    done = render({}, tmp_path / "out", env=env)

    assert done.returncode == 0, done.stdout
    assert not ran.exists()
    assert len(git(tmp_path / "out" / SLUG, "rev-parse", "HEAD")) == 40
    assert files_of(tmp_path / "out" / SLUG) == files_of(project)
    assert_first_commit(git, tmp_path / "out" / SLUG)


def test_variables_of_another_repository_do_not_mislead(render: Render, git, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    env = {"GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other), "GIT_INDEX_FILE": str(other / ".git" / "index")}
    env |= {"GIT_OBJECT_DIRECTORY": str(other / ".git" / "objects"), "GIT_NAMESPACE": "x"}

    assert render({}, tmp_path / "out", env=env).returncode == 0

    assert_first_commit(git, tmp_path / "out" / SLUG)
    assert {path: path.read_bytes() for path in other.rglob("*") if path.is_file()} == before


def test_without_git_the_project_is_there_and_says_what_to_do(render: Render, project: Path, tmp_path: Path) -> None:
    done = render({}, tmp_path / "out", env={"PATH": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "git was not found" in done.stdout
    assert "git init" in done.stdout
    assert not (tmp_path / "out" / SLUG / ".git").exists()
    assert set(files_of(tmp_path / "out" / SLUG)) == set(files_of(project))


def test_inside_a_repository_no_second_one_is_made(render: Render, git, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    done = render({}, tmp_path / "deep" / "er")
    assert done.returncode == 0, done.stdout
    assert "no new one was made" in done.stdout
    assert "git add -A . and git commit" in done.stdout
    assert not (tmp_path / "deep" / "er" / SLUG / ".git").exists()
    assert git(tmp_path, "status", "--porcelain") == "?? deep/"
    assert not (tmp_path / ".git" / "index").exists()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to give a folder to another user"
)
def test_inside_somebody_elses_repository_no_second_one_is_made(render: Render, git, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "--quiet")
    os.chown(outer, 12345, 12345)
    done = render({}, outer / "inner")
    assert done.returncode == 0, done.stdout
    assert "no new one was made" in done.stdout
    assert not (outer / "inner" / SLUG / ".git").exists()


def test_commit_that_fails_is_explained_and_the_project_stays(render: Render, tmp_path: Path) -> None:
    done = render({}, tmp_path, env={"GIT_AUTHOR_DATE": "no date"})
    assert done.returncode == 0, done.stdout
    assert "git could not commit it and said: fatal: invalid date format: no date" in done.stdout
    assert (tmp_path / SLUG / "pyproject.toml").exists()


def test_next_steps_are_commands(render: Render, tmp_path: Path) -> None:
    steps = render({}, tmp_path / "a folder").stdout.split("Next:\n")[1].splitlines()
    assert [step.strip() for step in steps][1:] == ["nox -s train", "nox -s tests"]
    shell = ["cmd", "/c"] if os.name == "nt" else ["sh", "-c"]
    shown = subprocess.run([*shell, f"{steps[0].strip()} && git ls-files"], check=True, capture_output=True, text=True)
    assert "pyproject.toml" in shown.stdout.split()


def test_terminal_that_cannot_spell_the_author_is_no_obstacle(render: Render, git, tmp_path: Path) -> None:
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = render({"author": "Žofie 🐧", "description": "Žluťoučký"}, tmp_path, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert git(tmp_path / SLUG, "log", "--format=%an") == "Žofie 🐧"


# What was there before


def test_existing_folder_is_left_untouched(render: Render, tmp_path: Path) -> None:
    (tmp_path / SLUG).mkdir()
    (tmp_path / SLUG / "pyproject.toml").write_text("mine", encoding="utf-8")
    done = render({}, tmp_path)
    assert done.returncode == 1
    assert "already exists" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert files_of(tmp_path) == {f"{SLUG}/pyproject.toml": b"mine"}


@pytest.mark.parametrize("options", [[], ["--overwrite-if-exists"], ["--overwrite-if-exists", "--skip-if-file-exists"]])
def test_refused_answer_leaves_an_existing_folder_untouched(options: list[str], render: Render, tmp_path: Path) -> None:
    (tmp_path / SLUG).mkdir()
    (tmp_path / SLUG / "mine.txt").write_text("mine", encoding="utf-8")
    done = render({"description": "a\nb"}, tmp_path, *options)
    assert done.returncode == 1
    assert files_of(tmp_path) == {f"{SLUG}/mine.txt": b"mine"}


@pytest.mark.parametrize("option", ["--accept-hooks=no", "--keep-project-on-failure"])
def test_refusals_cannot_be_switched_off(option: str, render: Render, tmp_path: Path) -> None:
    done = render({"project_name": "class"}, tmp_path, option)
    assert done.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_overwriting_deletes_nothing_of_the_users(render: Render, git, tmp_path: Path) -> None:
    assert render({}, tmp_path).returncode == 0
    mine = [f"{SLUG}/mine.txt", f"{SLUG}/src/penguin_classifier/mine.py", f"{SLUG}/data/mine/rows.csv"]
    for name in mine:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine", encoding="utf-8")
    head = git(tmp_path / SLUG, "rev-parse", "HEAD")
    assert render({}, tmp_path, "--overwrite-if-exists").returncode == 0
    assert [files_of(tmp_path).get(name) for name in mine] == [b"mine"] * len(mine)
    assert git(tmp_path / SLUG, "rev-parse", "HEAD") == head
