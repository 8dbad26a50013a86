"""The git state: commit, branch, remote and author are right wherever a run starts, or refused with a way out."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from repository import Repository, take_environment
from reproducibility.errors import Refused
from reproducibility.git.settings import Settings
from reproducibility.git.state import fetch_commit, git_state, is_in_commit
from reproducibility.secrets import without_credentials


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, clean_env: dict[str, str]) -> pytest.MonkeyPatch:
    """Nothing of this machine reaches git; the test changes the variables of this process by it."""
    take_environment(monkeypatch, clean_env)
    return monkeypatch


@pytest.fixture
def repository(tmp_path: Path, clean_env: dict[str, str]) -> Repository:
    repository = Repository.new(tmp_path / "repository", clean_env)
    repository.write("code.py", b"1\n")
    repository.commit()
    return repository


def test_rendered_project_states_its_first_commit(project: Path, clean_env: dict[str, str]) -> None:
    repository = Repository(project, clean_env)
    state = git_state(project)
    assert state.commit == repository.git("rev-parse", "HEAD")
    assert re.fullmatch("[0-9a-f]{40}", state.commit)
    assert (state.branch, state.remote, state.patch) == (repository.git("branch", "--show-current"), "none", b"")
    assert is_in_commit(project, Path("configs/experiment.yaml"))


def test_branch_of_a_detached_head_is_what_the_ci_system_calls_it(
    repository: Repository, environment: pytest.MonkeyPatch
) -> None:
    ci = {"GITHUB_HEAD_REF": "feature", "GITHUB_REF_NAME": "7/merge", "CI_COMMIT_REF_NAME": "gitlab"}
    for name, value in ci.items():
        environment.setenv(name, value)
    assert git_state(repository.path).branch == "main"

    repository.git("checkout", "--quiet", "--detach")
    assert git_state(repository.path).branch == "feature"
    environment.setenv("GITHUB_HEAD_REF", "")
    assert git_state(repository.path).branch == "7/merge"
    environment.delenv("GITHUB_REF_NAME")
    assert git_state(repository.path).branch == "gitlab"
    environment.delenv("CI_COMMIT_REF_NAME")
    assert git_state(repository.path).branch == "detached"


def test_remote_is_origin_else_the_first_and_never_shows_a_token(repository: Repository) -> None:
    token = "gh" + "p_" + "a1B2" * 9
    repository.git("remote", "add", "backup", f"https://{token}@backup.example.com/a/b.git")
    assert git_state(repository.path).remote == "https://backup.example.com/a/b.git"

    repository.git("remote", "add", "origin", f"https://x-access-token:{token}@github.com/a/b.git")
    assert git_state(repository.path).remote == "https://github.com/a/b.git"

    # CI systems keep the token in a rewrite rule instead
    repository.git("remote", "set-url", "origin", "https://github.com/a/b.git")
    repository.git("config", f"url.https://ci:{token}@github.com/.insteadOf", "https://github.com/")
    assert git_state(repository.path).remote == "https://github.com/a/b.git"


REWRITES = {
    "none": {},
    "one": {"url.https://mirror.example.com/.insteadOf": "https://github.com/"},
    "the longest": {
        "url.https://short.example.com/.insteadOf": "https://github.com/",
        "url.https://long.example.com/.insteadOf": "https://github.com/a/",
        "url.https://other.example.com/.insteadOf": "https://gitlab.com/",
    },
    "an abbreviation": {"url.https://github.com/.insteadOf": "gh:", "remote.origin.url": "gh:a/b.git"},
    "only for pushing": {"url.https://push.example.com/.pushInsteadOf": "https://github.com/"},
    "another name": {"remote.origin.pushurl": "https://push.example.com/x.git", "remote.a b.c.url": "https://x.org/y"},
}


@pytest.mark.parametrize("rewrite", REWRITES)
def test_remote_is_what_git_itself_would_fetch_from(rewrite: str, repository: Repository) -> None:
    repository.git("remote", "add", "origin", "https://github.com/a/b.git")
    for key, value in REWRITES[rewrite].items():
        repository.git("config", key, value)
    repository.git("config", "--add", "remote.origin.url", "https://second.example.com/a/b.git")
    assert git_state(repository.path).remote == repository.git("remote", "get-url", "origin")


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


def test_addresses_lose_their_credentials_and_nothing_else() -> None:
    assert {url: without_credentials(url) for url in URLS} == URLS


def refusal(root: Path) -> str:
    with pytest.raises(Refused) as refused:
        git_state(root)
    assert [violation.key for violation in refused.value.violations] == ["git_commit"]
    return str(refused.value)


def test_folder_outside_of_git_is_refused(tmp_path: Path) -> None:
    assert re.search("not in a git work tree.*`git init`", refusal(tmp_path))


def test_bare_repository_and_inside_of_git_folder_are_refused(repository: Repository, tmp_path: Path) -> None:
    bare = repository.clone(tmp_path / "bare.git", "--bare").path
    assert "not in a git work tree" in refusal(bare)
    assert "not in a git work tree" in refusal(repository.path / ".git")


def test_repository_without_a_commit_is_refused(tmp_path: Path, clean_env: dict[str, str]) -> None:
    empty = Repository.new(tmp_path / "empty", clean_env)
    empty.write("code.py", b"1\n")
    assert re.search("no commit yet.*`git commit", refusal(empty.path))


def test_missing_git_is_refused(repository: Repository, tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PATH", str(tmp_path))
    assert re.search("could not be started.*install git", refusal(repository.path))


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a repository to another user"
)
def test_repository_of_another_user_is_refused_and_the_named_command_is_the_fix(
    repository: Repository, tmp_path: Path, clean_env: dict[str, str], environment: pytest.MonkeyPatch
) -> None:
    project = repository.write("part/code.py", b"1\n").parent
    repository.commit()
    for path in (repository.path, *repository.path.rglob("*")):
        os.chown(path, 12345, 12345)
    environment.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))

    message = refusal(project)

    command = re.search("`(git config --global --add safe.directory .+)`", message)
    assert "dubious ownership" in message and command
    subprocess.run(
        shlex.split(command[1]), env=clean_env | {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}, check=True
    )
    assert git_state(project).branch == "main"


def test_merge_commit_that_github_makes_up_is_refused(repository: Repository, environment: pytest.MonkeyPatch) -> None:
    merge = repository.git("rev-parse", "HEAD")
    environment.setenv("GITHUB_REF", "refs/pull/7/merge")
    environment.setenv("GITHUB_SHA", merge)
    assert "github.event.pull_request.head.sha" in refusal(repository.path)

    environment.setenv("GITHUB_REF", "refs/heads/main")
    assert git_state(repository.path).commit == merge

    # A workflow that checked out the head instead has both variables, too.
    environment.setenv("GITHUB_REF", "refs/pull/7/merge")
    repository.write("code.py", b"2\n")
    head = repository.commit()
    assert git_state(repository.path).commit == head


def test_project_in_an_ignored_folder_of_another_repository_is_refused(repository: Repository) -> None:
    repository.write(".gitignore", b"scratch/\n")
    repository.commit()
    project = repository.write("scratch/project/code.py", b"1\n").parent
    assert re.search("no file of .*project is in the repository.*`git init`", refusal(project))


def test_work_tree_and_shallow_clone_state_their_commit(repository: Repository, tmp_path: Path) -> None:
    repository.write("code.py", b"2\n")
    commit = repository.commit()
    shallow = repository.clone(tmp_path / "shallow", "--depth=1").path
    repository.git("worktree", "add", "--quiet", "-b", "other", str(tmp_path / "tree"))
    states = [(state.commit, state.branch, state.dirty) for state in map(git_state, (shallow, tmp_path / "tree"))]
    assert states == [(commit, "main", False), (commit, "other", False)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["a:b", '"a" b', "a\\b", "line\nbreak", "line\n--\nbreak", '"', "ä"])
def test_a_repository_in_a_folder_of_an_odd_name_states_its_changes(
    name: str, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    repository = Repository.new(tmp_path / name, clean_env)
    repository.write("code.py", b"1\n")
    repository.write("part/code.py", b"1\n")
    repository.commit()
    repository.write("part/code.py", b"2\n")
    assert b"-1\n+2\n" in git_state(repository.path / "part").patch


def test_variables_of_a_surrounding_git_hook_do_not_lead_to_another_repository(
    repository: Repository, tmp_path: Path, clean_env: dict[str, str], environment: pytest.MonkeyPatch
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
    for name, value in env.items():
        environment.setenv(name, value)
    repository.write("code.py", b"2\n")

    state = git_state(repository.path)

    assert state.commit == repository.git("rev-parse", "HEAD")
    assert b"other.py" not in state.patch and b"+2" in state.patch
    assert is_in_commit(repository.path, Path("code.py")) is False


def test_author_is_what_was_configured_and_never_a_guess(
    repository: Repository, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    def author(**env: str) -> str | None:
        with environment.context() as more:
            for name, value in env.items():
                more.setenv(name, value)
            return Settings(repository.path).author

    assert author() == "Ada Lovelace <ada@example.com>"
    assert author(GIT_AUTHOR_NAME="Eve", GIT_AUTHOR_EMAIL="eve@example.com") == "Eve <eve@example.com>"
    assert author(GIT_AUTHOR_EMAIL="work@example.com") == "Ada Lovelace <work@example.com>"
    repository.git("config", "author.name", "  Ada \t King ")
    assert author() == "Ada King <ada@example.com>"

    repository.git("config", "--unset", "user.email")
    assert author() is None
    assert author(EMAIL="guess@example.com") is None
    repository.git("config", "user.email", " ")
    assert author() is None
    assert Settings(tmp_path).author is None


def test_committed_means_the_bytes_on_the_disk(repository: Repository, tmp_path: Path) -> None:
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

    others = ["configs", str(tmp_path / "outside.yaml")]
    found = [is_in_commit(repository.path, Path(each)) for each in (*paths, *absolute, *others)]

    assert found == [*expected.values(), *expected.values(), False, False]


def lone_clone(repository: Repository, path: Path) -> Repository:
    """A clone without the last commit, which only the branch `other` of the remote has."""
    clone = repository.clone(path)
    repository.git("checkout", "--quiet", "-b", "other")
    repository.write("code.py", b"2\n")
    repository.commit()
    repository.git("checkout", "--quiet", "main")
    return clone


@pytest.mark.parametrize("server", ["that gives out every commit", "that gives out branches only"])
def test_missing_commit_is_fetched_and_no_reference_changes(
    server: str, repository: Repository, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    clone = lone_clone(repository, tmp_path / "clone")
    commit = repository.git("rev-parse", "other")
    if server == "that gives out branches only":
        # In protocol 0 git gives out the tips of branches only. The branch goes on: the commit is no tip any more.
        for name, value in {"COUNT": "1", "KEY_0": "protocol.version", "VALUE_0": "0"}.items():
            environment.setenv(f"GIT_CONFIG_{name}", value)
        repository.git("checkout", "--quiet", "other")
        repository.write("code.py", b"3\n")
        repository.commit()
    before = clone.git("for-each-ref"), sorted(path.name for path in (clone.path / ".git").iterdir())

    assert fetch_commit(clone.path, commit, "none") is None

    assert clone.git("cat-file", "-t", commit) == "commit"
    assert (clone.git("for-each-ref"), sorted(path.name for path in (clone.path / ".git").iterdir())) == before


def test_commit_is_fetched_from_the_address_of_the_run_only_where_that_is_allowed(
    repository: Repository, tmp_path: Path
) -> None:
    clone = lone_clone(repository, tmp_path / "clone")
    commit = repository.git("rev-parse", "other")
    clone.git("remote", "remove", "origin")
    address = repository.path.as_uri()

    assert fetch_commit(clone.path, commit, address, own_remotes_only=True) == {}
    assert fetch_commit(clone.path, commit, address) is None


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for ssh is a shell script")
@pytest.mark.parametrize("named_by", ["core.sshCommand", "GIT_SSH", "GIT_SSH_COMMAND"])
def test_commit_is_fetched_with_the_ssh_that_the_user_chose(
    named_by: str, repository: Repository, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    clone = lone_clone(repository, tmp_path / "clone")
    commit = repository.git("rev-parse", "other")
    ssh = tmp_path / "own ssh"
    ssh.write_text('#!/bin/sh\nfor command; do :; done\nexec sh -c "$command"\n', encoding="utf-8")
    ssh.chmod(0o700)
    if named_by == "core.sshCommand":
        clone.git("config", "core.sshCommand", shlex.quote(str(ssh)))
    else:
        environment.setenv(named_by, str(ssh) if named_by == "GIT_SSH" else shlex.quote(str(ssh)))
    clone.git("remote", "set-url", "origin", f"ssh://nowhere.invalid{repository.path}")

    assert fetch_commit(clone.path, commit, "none") is None


def test_commit_that_no_remote_has_is_not_fetched_and_each_reason_is_given(
    repository: Repository, tmp_path: Path
) -> None:
    clone = lone_clone(repository, tmp_path / "clone")
    clone.git("remote", "add", "away", "https://ada:secret@localhost:1/code.git")

    problems = fetch_commit(clone.path, "1" * 40, f"{tmp_path.as_uri()}/gone")

    addresses = [repository.path.as_uri(), "https://localhost:1/code.git", f"{tmp_path.as_uri()}/gone"]
    assert list(problems) == addresses
    assert all(problems.values()) and "secret" not in str(problems)


@pytest.mark.parametrize("remote", ["ext::sh -c touch% {}", "--upload-pack=touch {}", "none"])
@pytest.mark.parametrize("commit", ["--upload-pack=touch {}", "1" * 40])
def test_what_a_run_recorded_starts_no_program(
    remote: str, commit: str, repository: Repository, tmp_path: Path
) -> None:
    clone = lone_clone(repository, tmp_path / "clone")
    ran = tmp_path / "ran"
    assert fetch_commit(clone.path, commit.format(ran), remote.format(ran))
    assert not ran.exists()
