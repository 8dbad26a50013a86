"""The standard edition, with the delimiters {{ }}, renders the same projects, and Windows can check it out."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import TEMPLATE, Render, code_of
from repository import Repository
from test_answers import HOSTILE
from upstream import NOT_COPIED, template_repository
from workbench import SCRIPTS

pytestmark = pytest.mark.skipif(
    "_jinja2_env_vars" not in json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8")),
    reason="this is the standard edition, and it is made from the other one",
)

# What Windows allows in no name, and names that it keeps for devices.
ILLEGAL = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)


@pytest.fixture(scope="module")
def edition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edition") / "template"
    write_edition(TEMPLATE, str(folder))
    return folder


def write_edition(template: Path, *arguments: str, env: dict[str, str] | None = None) -> str:
    command = [sys.executable, template / "edition.py", *arguments]
    done = subprocess.run(command, check=False, env=env, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


def answer_sets() -> list[dict[str, str]]:
    """Thirty sets: the defaults, each Python, and hostile texts in every question."""
    texts = [text for text, _ in HOSTILE.values()]
    hostile = [
        {"project_name": f"A {texts[n]}", "description": texts[n + 1], "author": f"Ada {texts[n + 2]}"}
        for n in range(0, len(texts) - 2, 2)
    ]
    pythons = [{"python_version": version} for version in ("3.11", "3.12", "3.13")]
    uris = [{"tracking_uri": f"sqlite:///{{{{ 7 }}}} << 8 >> {n}.db", "description": "{% raw %}<% x"} for n in (1, 2)]
    return [{}, *pythons, *uris, *hostile][:30]


def test_both_editions_render_the_same_projects(edition: Path, clean_env: dict[str, str], tmp_path: Path) -> None:
    answers = answer_sets()
    assert len(answers) == 30
    # Neither is in a repository, so that both note the same origin: none.
    source = Path(shutil.copytree(TEMPLATE, tmp_path / "template", ignore=shutil.ignore_patterns(*NOT_COPIED)))

    def rendered(name: str, template: Path) -> list[str]:
        command = [sys.executable, SCRIPTS / "render_each.py", template, tmp_path / name]
        asked = json.dumps(answers)
        done = subprocess.run(command, input=asked, env=clean_env, check=False, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    with ThreadPoolExecutor() as pool:
        ours, theirs = pool.map(rendered, ("ours", "theirs"), (source, edition))
    for asked, one, other in zip(answers, ours, theirs, strict=True):
        assert one == other, asked
    trees = {each for each in ours if re.fullmatch("[0-9a-f]{64}", each)}
    assert len(trees) >= 15


def test_no_path_of_the_standard_edition_is_illegal_on_windows(edition: Path, project: Path) -> None:
    for root in (edition, project):
        for path in root.rglob("*"):
            relative = path.relative_to(root)
            assert not any(ILLEGAL.search(part) for part in relative.parts), relative
    assert ILLEGAL.search("<<cookiecutter.project_slug>>")
    # A checkout has 260 characters for a path, and the folder of a user takes some of them.
    longest = max(len(path.relative_to(edition).as_posix()) for path in edition.rglob("*"))
    assert longest < 140


def test_the_branch_has_a_history_and_projects_are_updated_from_it(
    render: Render, clean_env: dict[str, str], tmp_path: Path
) -> None:
    origin = Repository.new(tmp_path / "origin.git", clean_env, "--bare")
    template = template_repository(tmp_path / "template", clean_env)
    template.git("remote", "add", "origin", origin.path.as_posix())
    template.git("push", "--quiet", "origin", "main")

    def publish() -> str:
        return write_edition(template.path, "--publish", env=clean_env)

    assert publish().startswith("The branch standard now has the standard edition of ")
    assert publish().startswith("The branch standard has the standard edition of ")
    first = origin.git("rev-parse", "standard")
    source = template.git("rev-parse", "HEAD")
    assert origin.git("log", "-1", "--format=%s", first) == f"The standard edition of {source}"
    paths = origin.git("ls-tree", "-r", "-z", "--name-only", "standard").split("\0")
    assert "{{cookiecutter.project_slug}}/noxfile.py" in paths
    assert not [path for path in paths if path.startswith(".github/")]  # no workflow's token can push these

    done = render({}, tmp_path / "out", "--checkout", "standard", source=origin.path.as_uri())
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = (tmp_path / "out").iterdir()
    noted = tomllib.loads((made / "pyproject.toml").read_text("utf-8"))["tool"]["cookiecutter"]
    assert (noted["template"], noted["commit"]) == (origin.path.as_uri(), first)

    changed = template.path / "<<cookiecutter.project_slug>>" / "docs" / "updates.md"
    changed.write_text(changed.read_text("utf-8") + "\nmore\n", "utf-8")
    template.commit()
    publish()
    second = origin.git("rev-parse", "standard")
    assert origin.git("rev-parse", f"{second}~1") == first
    # The newest version is that of the branch, and not of main, which Windows cannot check out.
    command = [sys.executable, "-c", "from reproducibility.cli import main; main()", "update"]
    env = clean_env | {"PYTHONPATH": code_of(made), "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com"}
    updated = subprocess.run(command, cwd=made, env=env, check=False, capture_output=True, encoding="utf-8")
    assert updated.returncode == 0, updated.stdout + updated.stderr
    noted = tomllib.loads((made / "pyproject.toml").read_text("utf-8"))["tool"]["cookiecutter"]
    assert noted["commit"] == second
    assert (made / "docs" / "updates.md").read_text("utf-8").endswith("more\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [((), "name a folder: nox -s edition -- FOLDER"), (("{here}",), "is there already: name a new folder")],
)
def test_a_folder_that_cannot_be_written_is_named(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    tmp_path.joinpath("own").touch()
    command = [sys.executable, TEMPLATE / "edition.py", *(each.format(here=tmp_path) for each in arguments)]
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and told in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["own"]
