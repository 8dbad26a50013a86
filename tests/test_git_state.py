"""The git state: commit, branch, remote and author are right wherever a run starts, or refused with a way out."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from machinery import Machinery, Refusal
from repository import Repository


@pytest.fixture(scope="session")
def ask(run_in: Callable, project: Path) -> Machinery:
    return Machinery(run_in, project)


@pytest.fixture
def repository(tmp_path: Path, clean_env: dict[str, str]) -> Repository:
    repository = Repository.new(tmp_path / "repository", clean_env)
    repository.write("code.py", b"1\n")
    repository.commit()
    return repository


def test_rendered_project_states_its_first_commit(
    ask: Machinery, fresh_project: Path, clean_env: dict[str, str]
) -> None:
    repository = Repository(fresh_project, clean_env)
    state = ask("git.state(root)", root=fresh_project)
    assert state["commit"] == repository.git("rev-parse", "HEAD")
    assert re.fullmatch("[0-9a-f]{40}", state["commit"])
    assert (state["branch"], state["remote"], state["patch"]) == (
        repository.git("branch", "--show-current"),
        "none",
        "",
    )
    assert ask("git.is_committed(root, Path('configs/experiment.yaml'))", root=fresh_project)


def test_branch_of_a_detached_head_is_what_the_ci_system_calls_it(ask: Machinery, repository: Repository) -> None:
    ci = {"GITHUB_HEAD_REF": "feature", "GITHUB_REF_NAME": "7/merge", "CI_COMMIT_REF_NAME": "gitlab"}
    assert ask("git.state(root).branch", root=repository.path, env=ci) == "main"

    repository.git("checkout", "--quiet", "--detach")
    for names, expected in (
        (list(ci), "feature"),
        (list(ci)[1:], "7/merge"),
        (list(ci)[2:], "gitlab"),
        ([], "detached"),
    ):
        env = {name: ci[name] for name in names} | {"GITHUB_HEAD_REF": ci["GITHUB_HEAD_REF"] if len(names) == 3 else ""}
        assert ask("git.state(root).branch", root=repository.path, env=env) == expected


def test_remote_is_origin_else_the_first_and_never_shows_a_token(ask: Machinery, repository: Repository) -> None:
    token = "gh" + "p_" + "a1B2" * 9
    repository.git("remote", "add", "backup", f"https://{token}@backup.example.com/a/b.git")
    assert ask("git.state(root).remote", root=repository.path) == "https://backup.example.com/a/b.git"

    repository.git("remote", "add", "origin", f"https://x-access-token:{token}@github.com/a/b.git")
    assert ask("git.state(root).remote", root=repository.path) == "https://github.com/a/b.git"

    # CI systems keep the token in a rewrite rule instead
    repository.git("remote", "set-url", "origin", "https://github.com/a/b.git")
    repository.git("config", f"url.https://ci:{token}@github.com/.insteadOf", "https://github.com/")
    assert ask("git.state(root).remote", root=repository.path) == "https://github.com/a/b.git"


URLS = {
    "https://user:pw@host.example.com:8443/a/b.git": "https://host.example.com:8443/a/b.git",
    "https://token@host/a": "https://host/a",
    "HTTPS://user:p@ss@host/a": "HTTPS://host/a",
    "https://user:p/w@host/a@v2": "https://v2",
    "https://user:p#w@host/a": "https://host/a",
    "https://user:p?w@host/a?x=1": "https://host/a",
    "https://host/a?token=abc#frag": "https://host/a",
    "https://host/@scope/a:b@c": "https://host/@scope/a:b@c",
    "http://[::1]:5000/x": "http://[::1]:5000/x",
    "http://u:p@[::1]:5000": "http://[::1]:5000",
    "http://localhost:5000": "http://localhost:5000",
    "ssh://git@host:22/a.git": "ssh://git@host:22/a.git",
    "ssh://git:pw@host/a.git": "ssh://git@host/a.git",
    "git@github.com:a/b.git": "git@github.com:a/b.git",
    "user:pw@host.example.com": "host.example.com",
    "postgresql+psycopg://u:p@db/mlflow?sslpassword=x": "postgresql+psycopg://db/mlflow",
    "sqlite:////home/ada/mlflow.db": "sqlite:////home/ada/mlflow.db",
    "sqlite:///mlflow.db": "sqlite:///mlflow.db",
    "/srv/git/a@b.git": "/srv/git/a@b.git",
    "C:\\repos\\a@b": "C:\\repos\\a@b",
    "databricks": "databricks",
    " https://user:pw@host/a\n": "https://host/a",
    "": "",
}


def test_addresses_lose_their_credentials_and_nothing_else(ask: Machinery) -> None:
    shown = ask("[url.without_credentials(each) for each in urls]", values={"urls": list(URLS)})
    assert dict(zip(URLS, shown, strict=True)) == URLS


def refusal(ask: Machinery, root: Path, **options: object) -> str:
    with pytest.raises(Refusal) as refused:
        ask("git.state(root)", root=root, **options)
    assert refused.value.keys == ["git_commit"]
    return str(refused.value)


def test_folder_outside_of_git_is_refused(ask: Machinery, tmp_path: Path) -> None:
    assert re.search("not in a git work tree.*`git init`", refusal(ask, tmp_path))


def test_bare_repository_and_inside_of_git_folder_are_refused(
    ask: Machinery, repository: Repository, tmp_path: Path
) -> None:
    bare = repository.clone(tmp_path / "bare.git", "--bare").path
    assert "not in a git work tree" in refusal(ask, bare)
    assert "not in a git work tree" in refusal(ask, repository.path / ".git")


def test_repository_without_a_commit_is_refused(ask: Machinery, tmp_path: Path, clean_env: dict[str, str]) -> None:
    empty = Repository.new(tmp_path / "empty", clean_env)
    empty.write("code.py", b"1\n")
    assert re.search("no commit yet.*`git commit", refusal(ask, empty.path))


def test_missing_git_is_refused(ask: Machinery, repository: Repository, python: Path) -> None:
    assert re.search(
        "could not be started.*install git", refusal(ask, repository.path, env={"PATH": str(python.parent)})
    )


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a repository to another user"
)
def test_repository_of_another_user_is_refused_and_the_named_command_is_the_fix(
    ask: Machinery, repository: Repository, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    project = repository.write("part/code.py", b"1\n").parent
    repository.commit()
    for path in (repository.path, *repository.path.rglob("*")):
        os.chown(path, 12345, 12345)
    env = {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}

    message = refusal(ask, project, env=env)

    command = re.search("`(git config --global --add safe.directory .+)`", message)
    assert "dubious ownership" in message and command
    subprocess.run(shlex.split(command[1]), env=clean_env | env, check=True)
    assert ask("git.state(root).branch", root=project, env=env) == "main"


def test_merge_commit_that_github_makes_up_is_refused(ask: Machinery, repository: Repository) -> None:
    env = {"GITHUB_REF": "refs/pull/7/merge", "GITHUB_SHA": repository.git("rev-parse", "HEAD")}
    assert "github.event.pull_request.head.sha" in refusal(ask, repository.path, env=env)

    # the workflow that checked out the head instead still has both variables
    repository.write("code.py", b"2\n")
    assert ask("git.state(root).commit", root=repository.path, env=env | {"GITHUB_SHA": repository.commit()[::-1]})
    assert ask("git.state(root).commit", root=repository.path, env=env)
    assert ask("git.state(root).commit", root=repository.path, env=env | {"GITHUB_REF": "refs/heads/main"})


def test_project_in_an_ignored_folder_of_another_repository_is_refused(ask: Machinery, repository: Repository) -> None:
    repository.write(".gitignore", b"scratch/\n")
    repository.commit()
    project = repository.write("scratch/project/code.py", b"1\n").parent
    assert re.search("no file of .*project is in the repository.*`git init`", refusal(ask, project))


def test_work_tree_and_shallow_clone_state_their_commit(ask: Machinery, repository: Repository, tmp_path: Path) -> None:
    repository.write("code.py", b"2\n")
    commit = repository.commit()
    shallow = repository.clone(tmp_path / "shallow", "--depth=1").path
    repository.git("worktree", "add", "--quiet", "-b", "other", str(tmp_path / "tree"))
    states = ask("[[s.commit, s.branch, s.dirty] for s in map(git.state, (a, b))]", a=shallow, b=tmp_path / "tree")
    assert states == [[commit, "main", False], [commit, "other", False]]


def test_variables_of_a_surrounding_git_hook_do_not_lead_to_another_repository(
    ask: Machinery, repository: Repository, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    other = Repository.new(tmp_path / "other", clean_env)
    other.write("other.py", b"other\n")
    other.commit()
    env = {
        "GIT_DIR": str(other.path / ".git"),
        "GIT_WORK_TREE": str(other.path),
        "GIT_INDEX_FILE": str(other.path / ".git" / "index"),
        "GIT_OBJECT_DIRECTORY": str(other.path / ".git" / "objects"),
        "GIT_COMMON_DIR": str(other.path / ".git"),
        "GIT_NAMESPACE": "x",
        "GIT_PREFIX": "x/",
        "GIT_EXTERNAL_DIFF": "no-such-program",
        "GIT_DIFF_OPTS": "--unified=0",
        "GIT_ICASE_PATHSPECS": "1",
    }
    repository.write("code.py", b"2\n")

    state = ask("git.state(root)", root=repository.path, env=env)

    assert state["commit"] == repository.git("rev-parse", "HEAD")
    assert "other.py" not in state["patch"] and "+2" in state["patch"]
    assert ask("git.is_committed(root, Path('code.py'))", root=repository.path, env=env) is False


def test_identity_is_what_was_configured_and_never_a_guess(
    ask: Machinery, repository: Repository, tmp_path: Path
) -> None:
    def identity(**env: str) -> str | None:
        return ask("git.identity(root)", root=repository.path, env=env)

    assert identity() == "Ada Lovelace <ada@example.com>"
    assert identity(GIT_AUTHOR_NAME="Eve", GIT_AUTHOR_EMAIL="eve@example.com") == "Eve <eve@example.com>"
    assert identity(GIT_AUTHOR_EMAIL="work@example.com") == "Ada Lovelace <work@example.com>"
    repository.git("config", "author.name", "  Ada \t King ")
    assert identity() == "Ada King <ada@example.com>"

    repository.git("config", "--unset", "user.email")
    assert identity() is None
    assert identity(EMAIL="guess@example.com") is None
    repository.git("config", "user.email", " ")
    assert identity() is None
    assert ask("git.identity(root)", root=tmp_path) is None


def test_committed_means_the_bytes_on_the_disk(ask: Machinery, repository: Repository, tmp_path: Path) -> None:
    for name in ("same", "changed", "hidden", "staged", "touched", "deleted", "[a]*", "linked"):
        repository.write(f"configs/{name}.yaml", b"seed: 1\n")
    repository.write(".gitignore", b"ignored.yaml\n")
    links = (
        {}
        if sys.platform == "win32"
        else {"link": "linked.yaml", "turned": "linked.yaml", "to changed": "changed.yaml"}
    )
    for name, target in links.items():
        (repository.path / "configs" / f"{name}.yaml").symlink_to(target)
    repository.commit()
    for name in ("changed", "hidden", "staged", "untracked", "ignored", "force"):
        if name == "hidden":
            repository.git("update-index", "--assume-unchanged", "configs/hidden.yaml")
        repository.write(f"configs/{name}.yaml", b"seed: 2\n")
    repository.git("add", "configs/staged.yaml", "configs/force.yaml")
    (repository.path / "configs/deleted.yaml").unlink()
    os.utime(repository.path / "configs/touched.yaml", (1, 1))
    if links:
        (repository.path / "configs/turned.yaml").unlink()
        (repository.path / "configs/turned.yaml").symlink_to("same.yaml")
    expected = {
        **{"same": True, "changed": False, "hidden": False, "staged": False, "touched": True, "deleted": False},
        **{"[a]*": True, "untracked": False, "ignored": False, "force": False, "absent": False},
        **({"link": True, "turned": False, "to changed": False} if links else {}),
    }
    paths = [str(Path("configs", f"{name}.yaml")) for name in expected]
    absolute = [str(repository.path / path) for path in paths]

    found = ask(
        "[git.is_committed(root, Path(each)) for each in paths]",
        root=repository.path,
        values={"paths": [*paths, *absolute, "configs", str(tmp_path / "outside.yaml")]},
    )

    assert found == [*expected.values(), *expected.values(), False, False]
