"""An update merges what a newer template changes into a project, and leaves the team's own work alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from conftest import MACHINERY, Render, code_of
from repository import Repository
from upstream import template_repository
from workbench import SCRIPTS

pytestmark = pytest.mark.whole
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="git on Windows starts no shell script in its own place")
INSIDE = "<<cookiecutter.project_slug>>"
PACKAGE = "src/penguin_classifier"

Update = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def update(clean_env: dict[str, str]) -> Update:
    """`update(project, *options, env={})` runs `repro update` with the project's machinery.

    The environment is that of the tests, which has Cookiecutter as that of `nox -s update` does, and no MLflow.
    """

    def run(project: Repository, *options: str, env: dict[str, str] | None = None) -> CompletedProcess[str]:
        command = [sys.executable, "-c", "from reproducibility.cli import main; main()", "update", *options]
        variables = clean_env | {"PYTHONPATH": code_of(project.path)} | (env or {})
        return subprocess.run(
            command, env=variables, cwd=project.path, check=False, capture_output=True, encoding="utf-8"
        )

    return run


class Upstream(Repository):
    """The template's repository; `version` commits another version of it."""

    def version(self, changes: dict[str, tuple[str, str]]) -> str:
        """Replace in each file of the project's folder the first text by the second, and commit; "" adds at the end."""
        for name, (before, after) in changes.items():
            path = self.path / name if name == "CHANGELOG.md" else self.path / INSIDE / name
            text = path.read_text("utf-8") if path.exists() else ""
            assert before in text, f"{name} has no {before!r}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace(before, after, 1) if before else text + after, "utf-8")
        return self.commit()


@pytest.fixture(scope="module")
def first(clean_env: dict[str, str], render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first version of the template, `template`, and a project of it. Tests take copies."""
    folder = tmp_path_factory.mktemp("update")
    upstream = template_repository(folder / "template", clean_env)
    upstream.git("remote", "add", "origin", upstream.path.as_posix())
    done = render({"author": "Ada Lovelace <ada@example.com>"}, folder / "projects", source=upstream.path)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def upstream(first: Path) -> Iterator[Upstream]:
    """The template at its first version, at the address that the project notes; it goes back to that version."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    repository = Upstream(first / "template", env)
    start = repository.git("rev-parse", "HEAD")
    yield repository
    repository.git("reset", "--quiet", "--hard", start)
    repository.git("clean", "--quiet", "-d", "--force")


@pytest.fixture
def team(first: Path, clean_env: dict[str, str], tmp_path: Path) -> Repository:
    (made,) = (first / "projects").iterdir()
    return Repository(Path(shutil.copytree(made, tmp_path / made.name, symlinks=True)), clean_env)


def edit(team: Repository, name: str, before: str, after: str) -> None:
    """Replace *before* in a file; "" adds *after* at the end."""
    text = (team.path / name).read_text("utf-8")
    assert before in text, f"{name} has no {before!r}"
    team.write(name, (text.replace(before, after, 1) if before else text + after).encode())


def read(team: Repository, name: str) -> str:
    return (team.path / name).read_text("utf-8")


def noted(team: Repository) -> dict[str, str]:
    return tomllib.loads(read(team, "pyproject.toml"))["tool"]["cookiecutter"]


def do_own_work(team: Repository) -> None:
    """Commit twenty kinds of work that a team does in a project."""
    edit(team, f"{PACKAGE}/model.py", "", "\n\ndef own() -> int:\n    return 1\n")
    edit(team, "configs/base.yaml", "seed: 42", "seed: 7")
    edit(team, "pyproject.toml", '    "skops",\n', '    "skops",\n    "xgboost",\n')
    edit(team, "pyproject.toml", "", '\n[tool.own]\nlast = true\ntemplate = "x"\n')
    edit(team, "pyproject.toml", "[tool.ruff]\n", "[tool.beside]\nx = 1\n\n[tool.ruff]\n")
    team.git("rm", "--quiet", "docs/when-the-server-is-away.md")
    team.git("mv", "templates/experiment.py", "templates/baseline.py")
    edit(team, "templates/baseline.py", "", "\n# ours\n")
    (team.path / "handbook").mkdir()
    for path in (team.path / "docs").iterdir():
        team.git("mv", f"docs/{path.name}", f"handbook/{path.name}")
    edit(team, "requirements.txt", "", "# our own lock\n")
    team.git("rm", "--quiet", "data/penguins.csv")
    team.write("data/own.csv", b"a\r\n1\r\n")
    edit(team, ".github/workflows/ml-validation.yml", "", "  own:\n    runs-on: ubuntu-latest\n    steps: []\n")
    team.write(".github/workflows/own.yml", b"name: own\n")
    edit(team, "README.md", "Tells three species", "We tell three species")
    edit(team, ".gitignore", "", "/scratch/\n")
    edit(team, "noxfile.py", "", "\n\n@nox.session\ndef own(session: nox.Session) -> None:\n    pass\n")
    team.write(f"{PACKAGE}/features.py", b"OWN = 1\n")
    (team.path / "scripts/train.py").chmod(0o755)
    team.git("rm", "--quiet", "tests/test_model.py")
    team.write("notes/größe 1.md", "ö\n".encode())
    (team.path / "notes/link").symlink_to("größe 1.md")
    edit(team, f"{MACHINERY}/src/reproducibility/tags.py", "", "\n# patched here\n")
    team.commit()


MODULES = "src/<<cookiecutter.package_name>>"
SECOND = {
    "CHANGELOG.md": ("", "- Models are trained\n  twice.\n- `repro` sings.\n"),
    f"{MODULES}/experiment.py": ("", "\n# v2\n"),
    "configs/base.yaml": ("# The team's rules", "# v2\n# The team's rules"),
    "pyproject.toml": ('    "numpy",', '    "numpy>=2",'),
    "docs/when-the-server-is-away.md": ("", "\nv2\n"),
    "docs/threads-and-processes.md": ("", "\nv2\n"),
    "docs/new.md": ("", "v2\n"),
    "templates/experiment.py": ("import mlflow\n", "import mlflow  # v2\n"),
    "requirements.txt": ("", "# v2\n"),
    "requirements-new.txt": ("", "# v2\n"),
    "data/penguins.csv": ("", "v2\n"),
    "data/more.csv": ("", "v2\n"),
    ".github/workflows/ml-validation.yml": ("name: ml-validation", "# v2\nname: ml-validation"),
    "README.md": ("## Every day", "v2\n\n## Every day"),
    ".gitignore": ("# secrets", "# v2\n# secrets"),
    "noxfile.py": ("import os\n", "import os  # v2\n"),
    "scripts/train.py": ("", "\n# v2\n"),
    "tests/test_model.py": ("", "\n# v2\n"),
    f"{MACHINERY}/src/reproducibility/tags.py": ('"""', '"""v2: '),
    f"{MACHINERY}/src/reproducibility/digest.py": ("", "\n# v2\n"),
    f"{MACHINERY}/src/reproducibility/news.py": ("", "# v2\n"),
}
FOLLOWED = (
    *(f"{PACKAGE}/experiment.py", "configs/base.yaml", "handbook/threads-and-processes.md", "handbook/new.md"),
    *("templates/baseline.py", "requirements-new.txt", ".github/workflows/ml-validation.yml", "README.md"),
    *(".gitignore", "noxfile.py", "scripts/train.py", f"{MACHINERY}/src/reproducibility/tags.py"),
    *(f"{MACHINERY}/src/reproducibility/digest.py", f"{MACHINERY}/src/reproducibility/news.py"),
)


def test_twenty_kinds_of_own_work_live_through_three_versions(
    update: Update, upstream: Upstream, team: Repository, tmp_path: Path
) -> None:
    do_own_work(team)
    before = {name.decode(): content for name, (_, content) in team.files().items()}
    second = upstream.version(SECOND)

    done = update(team)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    branch = f"template-update/{second[:10]}"
    assert team.git("branch", "--show-current") == branch
    assert "The template has 1 commit more" in done.stdout
    assert "  - Models are trained twice.\n  - `repro` sings.\n" in done.stdout
    assert (
        f"Changed here by hand, which can conflict at each update: {MACHINERY}/src/reproducibility/tags.py"
        in done.stdout
    )
    deleted = "docs/when-the-server-is-away.md, tests/test_model.py"
    assert f"Deleted or moved away in this project, and so left out: {deleted}\n" in done.stdout
    assert "`nox -s lock`, and commit the locks" in done.stdout
    assert f"without a conflict. To go back: `git switch main`, `git branch -D {branch}`" in done.stdout
    assert team.git("status", "--porcelain") == ""
    assert team.git("rev-list", "--count", "main..HEAD") == "1"
    assert team.git("log", "-1", "--format=%an <%ae>") == "Ada Lovelace <ada@example.com>"
    assert "- Models are trained twice." in team.git("log", "-1", "--format=%b")
    after = {name.decode(): content for name, (_, content) in team.files().items()}
    # Nothing came back, and nothing but the three new files came.
    assert after.keys() - before.keys() == {
        *("handbook/new.md", "requirements-new.txt", f"{MACHINERY}/src/reproducibility/news.py")
    }
    assert before.keys() <= after.keys()
    for name in FOLLOWED:
        assert "v2" in read(team, name), name
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in FOLLOWED if name in before} | {"pyproject.toml"}
    dependencies = tomllib.loads(read(team, "pyproject.toml"))["project"]["dependencies"]
    assert {"numpy>=2", "xgboost"} <= set(dependencies)
    assert tomllib.loads(read(team, "pyproject.toml"))["tool"]["own"] == {"last": True, "template": "x"}
    assert "We tell three species" in read(team, "README.md")
    assert os.access(team.path / "scripts/train.py", os.X_OK) or sys.platform == "win32"
    assert noted(team)["commit"] == second

    # Squashed into main, as many teams merge, and nothing is left to do.
    team.git("switch", "--quiet", "main")
    team.git("merge", "--quiet", "--squash", branch)
    team.git("commit", "--quiet", "--message=Squashed")
    again = update(team)
    assert again.stdout.startswith(
        f"Nothing to do: the project has everything from its template (commit {second[:10]})"
    )

    # The third version changes what the team changed too. Here in a shallow clone, which has no history.
    third = upstream.version(
        {"configs/base.yaml": ("seed: 42", "seed: 43"), "docs/threads-and-processes.md": ("v2", "v3")}
    )
    shallow = team.clone(tmp_path / "shallow", "--depth", "1")
    for key, value in (("user.name", "Ada Lovelace"), ("user.email", "ada@example.com")):
        shallow.git("config", key, value)
    start = shallow.git("rev-parse", "HEAD")
    told = update(shallow)
    branch = f"template-update/{third[:10]}"
    assert told.returncode == 1, told.stdout + told.stderr
    assert "In conflict, changed here and in the template: configs/base.yaml\n" in told.stdout
    assert "`git cherry-pick --continue`" in told.stdout
    for text in ("seed: 7", "|||||||", "seed: 42", "seed: 43"):
        assert text in read(shallow, "configs/base.yaml")

    # Nobody can begin another update now; the way back leads back, and the way on leads on.
    refused = update(shallow)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "update: an update, or another cherry-pick, is not finished" in refused.stderr
    (back,) = [line.partition(": ")[2] for line in told.stdout.splitlines() if line.startswith("To go back")]
    assert back == f"`git cherry-pick --abort`, `git switch main`, `git branch -D {branch}`"
    for command in back.split(", "):
        shallow.git(*command.strip("`").split()[1:])
    assert (shallow.git("rev-parse", "HEAD"), shallow.git("status", "--porcelain")) == (start, "")
    assert update(shallow).returncode == 1
    shallow.write("configs/base.yaml", b"seed: 8\n")
    shallow.git("add", "--all")
    shallow.git("-c", "core.editor=true", "cherry-pick", "--continue")
    assert "v3" in read(shallow, "handbook/threads-and-processes.md")
    assert "Nothing to do" in update(shallow).stdout


def test_check_tells_what_is_new_and_changes_nothing(update: Update, upstream: Upstream, team: Repository) -> None:
    for key in ("user.name", "user.email"):  # nobody has to be named to look
        team.git("config", "--unset", key)
    current = update(team, "--check")
    assert (current.returncode, current.stdout[:14]) == (0, "Nothing to do:"), current.stderr
    second = upstream.version({"CHANGELOG.md": ("", "- A song.\n"), "README.md": ("", "v2\n")})
    (team.path / MACHINERY / "README.md").unlink()
    team.write(f"{MACHINERY}/src/reproducibility/own.py", b"# own\n")
    state = (team.git("status", "--porcelain"), team.git("for-each-ref"))

    done = update(team, "--check")

    assert done.returncode == 1, done.stderr
    by_hand = f"{MACHINERY}/README.md, {MACHINERY}/src/reproducibility/own.py"
    assert done.stdout.splitlines()[1:] == [
        "  - A song.",
        "  files: 2 changed",
        f"Changed here by hand, which can conflict at each update: {by_hand}",
        "To merge this: nox -s update",
    ]
    told = json.loads(update(team, "--check", "--json").stdout)
    assert (told["behind"], told["news"], told["new"], told["commits"]) == (True, ["A song."], second, 1)
    assert told["files"] == {"README.md": "M", "pyproject.toml": "M"}
    assert (team.git("status", "--porcelain"), team.git("for-each-ref")) == state
    # Without anything new, the files that were changed by hand are still named. A template in which only its own tests
    # changed has nothing for a project.
    upstream.git("reset", "--quiet", "--hard", "HEAD~1")
    nothing = update(team, "--check")
    assert nothing.returncode == 0
    assert nothing.stdout.endswith(f"\nChanged here by hand, which can conflict at each update: {by_hand}\n")
    upstream.write("tests/test_more.py", b"")
    upstream.commit()
    team.git("checkout", "--quiet", ".")
    team.git("clean", "--quiet", "-d", "--force")
    assert update(team, "--check").returncode == 0


def test_what_stands_in_the_way_is_refused(update: Update, upstream: Upstream, team: Repository) -> None:
    second = upstream.version({"docs/new.md": ("", "v2\n")})
    start = (team.git("rev-parse", "HEAD"), team.git("for-each-ref"))

    def refused(*options: str, env: dict[str, str] | None = None) -> str:
        done = update(team, *options, env=env)
        assert (done.returncode, done.stdout) == (2, ""), done.stdout + done.stderr
        assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr
        assert (team.git("rev-parse", "HEAD"), team.git("for-each-ref")) == start
        return done.stderr

    team.write("own.txt", b"x")
    assert "the work tree has changes that no commit has: own.txt. To fix it: commit them, or put" in refused()
    (team.path / "own.txt").unlink()
    # git would write over a file that it ignores.
    (team.path / ".git/info").mkdir(exist_ok=True)
    team.write(".git/info/exclude", b"new.md\n")
    team.write("docs/new.md", b"mine")
    assert "the template adds docs/new.md, and a file that git ignores has that name" in refused()
    assert (team.path / "docs/new.md").read_bytes() == b"mine"
    (team.path / "docs/new.md").unlink()

    assert "has no commit 0123456789" in refused("--from", "0123456789")
    assert "no branch, tag or commit none" in refused("--to", "none")
    for address in (
        "/none",
        "ext::sh -c touch% PWNED",
        "--upload-pack=touch PWNED",
        "https://ada:secret@127.0.0.1:9/x",
    ):
        told = refused("--template", address)
        assert "cannot be fetched" in told and "secret" not in told
    assert not list(team.path.rglob("PWNED"))

    edit(team, "pyproject.toml", 'python_version = "', 'python_version = "3.1 \\u0022; touch PWNED')
    team.commit()
    start = (team.git("rev-parse", "HEAD"), team.git("for-each-ref"))
    assert "gives no project with the noted answers" in refused()
    edit(team, "pyproject.toml", "[tool.cookiecutter]", "[tool.other]")
    team.commit()
    start = (team.git("rev-parse", "HEAD"), team.git("for-each-ref"))
    assert "it has no table [tool.cookiecutter]" in refused()
    assert second not in read(team, "pyproject.toml")


def test_a_project_that_notes_no_commit_names_it_once(update: Update, upstream: Upstream, team: Repository) -> None:
    """As a project of a template that was no repository. The project lies in a folder of a bigger repository."""
    start, address = noted(team)["commit"], noted(team)["template"]
    upstream.version({"docs/new.md": ("", "v2\n")})
    edit(team, "pyproject.toml", start, "")
    edit(team, "pyproject.toml", address, "")
    folder = team.path / "teams" / "one"
    names = [path for path in team.path.iterdir() if path.name not in (".git", "teams")]
    folder.mkdir(parents=True)
    for path in names:
        path.rename(folder / path.name)
    shutil.copytree(folder, team.path / "another")
    team.commit()
    inner = Repository(folder, team.env)
    assert "does not note where its template is" in update(inner).stderr
    assert "name that commit, or an older one: nox -s update -- --from COMMIT" in (
        update(inner, "--template", address).stderr
    )
    done = update(inner, "--template", address, "--from", start)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read(inner, "docs/new.md") == "v2\n"
    assert team.git("status", "--porcelain") == ""
    assert sorted(path.name for path in team.path.iterdir()) == [".git", "another", "teams"]
    assert not team.git("diff", "--name-only", "main", "HEAD", "--", "another")
    assert noted(inner)["template"] == address
    assert update(inner).stdout.startswith("Nothing to do")


@POSIX
@pytest.mark.parametrize(
    ("moment", "fix"),
    [
        (("KILL_BEFORE", "cherry-pick"), None),
        (("KILL_AFTER", "cherry-pick"), "git cherry-pick --abort"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_update_that_was_killed_can_be_made_again(
    moment: tuple[str, str], fix: str | None, update: Update, upstream: Upstream, team: Repository, tmp_path: Path
) -> None:
    second = upstream.version({"docs/threads-and-processes.md": ("", "v2\n"), "docs/new.md": ("", "v2\n")})
    team.git("rm", "--quiet", "docs/threads-and-processes.md")  # so that the cherry-pick does not end at once
    team.commit()
    shutil.copyfile(SCRIPTS / "git_that_kills.sh", tmp_path / "git")
    (tmp_path / "git").chmod(0o755)
    path = os.pathsep.join([str(tmp_path), team.env["PATH"]])
    env = {"PATH": path, "REAL_GIT": shutil.which("git"), moment[0]: moment[1]}

    assert update(team, env=env).returncode == -signal.SIGKILL

    if fix:
        refused = update(team)
        assert refused.returncode == 2 and fix in refused.stderr
        team.git(*fix.split()[1:])
    done = update(team)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (read(team, "docs/new.md"), noted(team)["commit"]) == ("v2\n", second)
    assert team.git("status", "--porcelain") == ""
    assert team.git("rev-list", "--count", "main..HEAD") == "1"


@POSIX
def test_a_pull_request_is_opened_by_a_step_that_runs_no_code_of_the_template(
    update: Update, upstream: Upstream, team: Repository, clean_env: dict[str, str], tmp_path: Path
) -> None:
    """Also with a conflict, which is in the pull request with its markers. A program stands in for GitHub's gh."""
    edit(team, "configs/base.yaml", "seed: 42", "seed: 7")
    team.commit()
    origin = Repository.new(tmp_path / "origin.git", clean_env, "--bare")
    team.git("push", "--quiet", str(origin.path), "main")
    second = upstream.version(
        {"CHANGELOG.md": ("", "- A song by @ada ```` .\n"), "configs/base.yaml": ("seed: 42", "seed: 43")}
    )
    third = upstream.version({"pyproject.toml": ('    "matplotlib",\n', "")})
    branches = [f"template-update/{commit[:10]}" for commit in (second, third)]
    shutil.copyfile(SCRIPTS / "gh.py", tmp_path / "gh")
    (tmp_path / "gh").chmod(0o755)
    env = {"PATH": os.pathsep.join([str(tmp_path), clean_env["PATH"]]), "GH_LOG": str(tmp_path / "gh.log")}
    env |= {"GIT_AUTHOR_NAME": "robot[bot]", "GIT_AUTHOR_EMAIL": "robot@example.com"}

    def clone(name: str) -> Repository:
        """A checkout of the job of a workflow: without history, and without anybody's name."""
        origin.clone(tmp_path / name, "--depth", "1", "--branch", "main")
        return Repository(tmp_path / name, clean_env)

    merging, pushing = clone("merging"), clone("pushing")
    offered = update(merging, "--to", second, "--offer", str(tmp_path / "offered"), env=env)
    assert offered.returncode == 0, offered.stdout + offered.stderr

    opened = update(pushing, "--open", str(tmp_path / "offered"), env=env)

    assert opened.stdout == "Opened https://github.com/org/penguins/pull/8\n", opened.stderr
    assert origin.git("log", "--format=%an", f"main..{branches[0]}") == "robot[bot]"
    assert ">>>>>>>" in origin.git("show", f"{branches[0]}:configs/base.yaml")
    _, created = map(json.loads, (tmp_path / "gh.log").read_text().splitlines())
    title = f"Update from the template to {second[:10]}"
    assert created[:6] == ["pr", "create", "--head", branches[0], "--title", title]
    text = Path(created[created.index("--body-file") + 1]).read_text("utf-8")
    assert text.count("````") == 2 and "@ada" in text.split("````")[1]
    assert "In conflict, changed here and in the template: configs/base.yaml" in text

    # While it is open there is no second one. Later there is, with locks that were made anew.
    later = clone("later")
    edit(later, "configs/base.yaml", "seed: 7", "seed: 42")
    later.git("-c", "user.name=Ada", "-c", "user.email=a@example.com", "commit", "--quiet", "--all", "-m", "As it was")
    later.git("push", "--quiet", str(origin.path), "main")
    assert update(later, "--offer", str(tmp_path / "more"), env=env).returncode == 0
    listing = json.dumps([{"headRefName": branches[0], "url": "https://github.com/org/penguins/pull/8"}])
    waiting = update(later, "--open", str(tmp_path / "more"), env=env | {"GH_OPEN": listing})
    assert waiting.stdout.startswith("https://github.com/org/penguins/pull/8 is open: merge it or close it")
    assert branches[1] not in origin.git("for-each-ref", "--format=%(refname)")
    assert update(later, "--open", str(tmp_path / "more"), env=env).returncode == 0
    assert branches[1] in origin.git("for-each-ref", "--format=%(refname)")
    assert "The locks were made anew with `nox -s lock`" in (tmp_path / "more" / "update.md").read_text("utf-8")
    changed = origin.git("diff", "--name-only", f"{branches[1]}~1", branches[1]).split()
    assert changed == ["requirements-dev.txt", "requirements-sweep.txt", "requirements.txt"]

    # Only the branch of an update is pushed, whatever a bundle holds.
    later.git("branch", "--quiet", "own", "main")
    later.git("bundle", "create", "--quiet", str(tmp_path / "more" / "update.bundle"), "own")
    refused = update(later, "--open", str(tmp_path / "more"), env=env)
    assert refused.returncode == 2 and "holds something else than the branch of an update" in refused.stderr
    assert update(later, "--open", str(tmp_path / "none"), env=env).stdout.startswith("There is nothing to open")
