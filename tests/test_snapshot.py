"""The uncommitted patch: replays to the byte whatever the user's git is set to, writes nothing, leaks nothing."""

import os
import random
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from repository import Repository, take_environment
from reproducibility.errors import Refused
from reproducibility.git.state import git_state
from reproducibility.secrets import is_secret_name, secrets_in

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such file names, modes or links")

# Each of these has broken a patch of somebody's, hidden an edit, or run a program of theirs.
HOSTILE = """
[core]
    autocrlf = true
    safecrlf = true
    quotePath = false
    ignoreStat = true
    trustctime = false
    checkStat = minimal
    splitIndex = true
    untrackedCache = true
    hooksPath = {folder}/hooks
    attributesFile = {folder}/attributes
    whitespace = tab-in-indent,space-before-tab
[diff]
    noprefix = true
    mnemonicPrefix = true
    external = {folder}/no-such-program
    orderFile = {folder}/no-such-file
    renames = copies
    algorithm = patience
    context = 0
    interHunkContext = 9
    submodule = log
    ignoreSubmodules = all
    suppressBlankEmpty = true
    relative = true
    wsErrorHighlight = all
    colorMoved = zebra
[diff "shout"]
    textconv = {folder}/no-such-program
    command = {folder}/no-such-program
[status]
    showUntrackedFiles = no
    relativePaths = true
    short = true
    branch = true
[color]
    ui = always
[add]
    ignoreErrors = true
"""
HOOK = '#!/bin/sh\ntouch "{folder}/hook-ran"\n'


@pytest.fixture(scope="session")
def hostile_env(clean_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a user whose own git configuration breaks naive patches."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "gitconfig").write_text(HOSTILE.format(folder=folder.as_posix()))
    (folder / "attributes").write_text("* text=auto eol=crlf diff=shout\n")
    (folder / "hooks").mkdir()
    hook = folder / "hooks" / "post-index-change"
    hook.write_text(HOOK.format(folder=folder.as_posix()))
    hook.chmod(0o755)
    return clean_env | {"GIT_CONFIG_GLOBAL": str(folder / "gitconfig")}


def committed_repository(path: Path, project: Path, env: dict[str, str], *options: str) -> Repository:
    """A repository with the project's .gitattributes and one file of each kind, all committed."""
    repository = Repository.new(path, env, *options)
    shutil.copy(project / ".gitattributes", path)
    repository.write(".gitignore", b"ignored/\n*.log\n")
    repository.write("src/model.py", b"".join(b"line %d\n" % number for number in range(50)))
    repository.write("windows.txt", b"one\r\ntwo\r\nthree\r\n")
    repository.write("mixed.txt", b"one\r\ntwo\nthree\r\n \nfour")
    repository.write("picture.bin", random.Random(1).randbytes(5000))
    repository.write("with space.txt", b"a\n")
    repository.write("gone.txt", b"soon\n")
    repository.write("empty", b"")
    if sys.platform != "win32":
        repository.write("run.sh", b"#!/bin/sh\n").chmod(0o755)
        (path / "link").symlink_to("src/model.py")
    repository.commit()
    return repository


@pytest.fixture
def repository(tmp_path: Path, project: Path, clean_env: dict[str, str]) -> Repository:
    return committed_repository(tmp_path / "repository", project, clean_env)


def patch_of(repository: Repository, folder: str = ".") -> bytes:
    """The patch of the repository for its user, with the user's configuration of git."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        take_environment(monkeypatch, repository.env)
        return git_state(repository.path / folder).patch


def refusal(repository: Repository) -> Refused:
    """What is raised instead of a patch: every violation is about the uncommitted changes."""
    with pytest.raises(Refused) as refused:
        patch_of(repository)
    assert {violation.key for violation in refused.value.violations} == {"uncommitted_changes"}
    return refused.value


def replayed(repository: Repository, patch: bytes, path: Path) -> Repository:
    """A clean clone after plain `git apply`."""
    clone = repository.clone(path)
    (path.parent / f"{path.name}.patch").write_bytes(patch)
    clone.git("apply", str(path.parent / f"{path.name}.patch"))
    return clone


def staged_and_modified(repository: Repository) -> None:
    repository.write("src/model.py", b"staged\n")
    repository.git("add", "src/model.py")
    repository.write("src/model.py", b"staged\nand changed again\n")


def added_by_force(repository: Repository) -> None:
    repository.write("ignored/wanted.txt", b"wanted\n")
    repository.git("add", "--force", "ignored/wanted.txt")


def hidden(flag: str) -> Callable[[Repository], None]:
    def edit(repository: Repository) -> None:
        repository.git("update-index", flag, "src/model.py")
        repository.write("src/model.py", b"hidden edit\n")

    return edit


def same_size_and_time(repository: Repository) -> None:
    path = repository.path / "src/model.py"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"line 7\n", b"LINE 7\n"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def link_for_file(repository: Repository) -> None:
    (repository.path / "windows.txt").unlink()
    (repository.path / "windows.txt").symlink_to("mixed.txt")


def folder_for_file(repository: Repository) -> None:
    (repository.path / "gone.txt").unlink()
    repository.write("gone.txt/inside", b"now a folder\n")


EDITS: dict[str, Callable[[Repository], object]] = {
    "text": lambda repository: repository.write("src/model.py", b"line 0\n\n\ttabbed \n"),
    "far apart": lambda repository: repository.write(
        "src/model.py", b"".join(b"line %d\n" % (number * (number % 11 != 3)) for number in range(50))
    ),
    "binary": lambda repository: repository.write("picture.bin", random.Random(2).randbytes(6000)),
    "binary, new": lambda repository: repository.write("new.bin", bytes(range(256))),
    "CRLF": lambda repository: repository.write("windows.txt", b"one\r\n2\r\nthree\r\n"),
    "CRLF becomes LF": lambda repository: repository.write("windows.txt", b"one\ntwo\nthree\n"),
    "mixed line ends": lambda repository: repository.write("mixed.txt", b"one\ntwo\r\nthree\n\r\nfive\r"),
    "no final newline": lambda repository: repository.write("with space.txt", b"a\nb"),
    "untracked": lambda repository: repository.write("deep/new folder/new.py", b"new\r\n"),
    "untracked, empty": lambda repository: repository.write("new-empty", b""),
    "emptied": lambda repository: repository.write("src/model.py", b""),
    "deleted": lambda repository: (repository.path / "gone.txt").unlink(),
    "deleted, empty": lambda repository: (repository.path / "empty").unlink(),
    "renamed": lambda repository: (repository.path / "src/model.py").rename(repository.path / "renamed.py"),
    "renamed in the index": lambda repository: repository.git("mv", "src/model.py", "renamed.py"),
    "staged and modified": staged_and_modified,
    "staged, new": lambda repository: (repository.write("n", b"n"), repository.git("add", "n")),
    "intended to add": lambda repository: (repository.write("n", b"n"), repository.git("add", "-N", "n")),
    "ignored but added by force": added_by_force,
    "assumed unchanged": hidden("--assume-unchanged"),
    "skipped in the work tree": hidden("--skip-worktree"),
    "same size and time": same_size_and_time,
    "file becomes folder": folder_for_file,
    "ünïcode name": lambda repository: repository.write("größe 数据.txt", b"x\n"),
    "name like an option": lambda repository: repository.write("--cached", b"x\n"),
    "name like a pathspec": lambda repository: repository.write("[a]!(top).txt", b"x\n"),
}
POSIX_EDITS: dict[str, Callable[[Repository], object]] = {
    "executable": lambda repository: (repository.path / "src/model.py").chmod(0o755),
    "no longer executable": lambda repository: (repository.path / "run.sh").chmod(0o644),
    "executable and changed": lambda repository: repository.write("src/model.py", b"x\n").chmod(0o755),
    "link turned": lambda repository: (
        (repository.path / "link").unlink(),
        (repository.path / "link").symlink_to("empty"),
    ),
    "new dangling link": lambda repository: (repository.path / "nowhere").symlink_to("no/such/file"),
    "file becomes link": link_for_file,
    "quotes in a name": lambda repository: repository.write("\"quo\\ted'.txt", b"x\n"),
    "newline and tab in a name": lambda repository: repository.write("line\nbreak\tand tab", b"x\n"),
    "name like magic": lambda repository: repository.write(":(exclude)x", b"x\n"),
    "name not in UTF-8": lambda repository: repository.write(os.fsdecode(b"latin-\xe9"), b"x\n"),
}


@pytest.mark.parametrize("edit", [*EDITS, *(pytest.param(name, marks=POSIX) for name in POSIX_EDITS)])
def test_every_kind_of_edit_replays_to_the_byte_under_a_hostile_configuration(
    edit: str, tmp_path: Path, project: Path, hostile_env: dict[str, str]
) -> None:
    repository = committed_repository(tmp_path / "repository", project, hostile_env)
    (EDITS | POSIX_EDITS)[edit](repository)
    expected = repository.files()

    patch = patch_of(repository)

    assert patch
    assert replayed(repository, patch, tmp_path / "clone").files(ignored=True) == expected


@pytest.mark.parametrize("kind", ["sha256", "shared", "worktree", "shallow", "no index"])
def test_every_kind_of_repository_replays(kind: str, tmp_path: Path, project: Path, clean_env: dict[str, str]) -> None:
    options = ["--object-format=sha256"] if kind == "sha256" else []
    name = "odd name" if sys.platform == "win32" else 'an:"odd" \\name'
    first = repository = committed_repository(tmp_path / name, project, clean_env, *options)
    if kind == "shared":
        repository = first.clone(tmp_path / "borrows", "--shared")
        first.git("gc", "--quiet")
    elif kind == "worktree":
        first.git("worktree", "add", "--quiet", "-b", "other", str(tmp_path / "tree"))
        repository = Repository(tmp_path / "tree", clean_env)
    elif kind == "shallow":
        first.write("later.txt", b"later\n")
        first.commit()
        repository = first.clone(tmp_path / "shallow", "--depth=1")
    elif kind == "no index":
        (first.path / ".git" / "index").unlink()
    repository.write("src/model.py", b"changed\n")
    repository.write("new.txt", b"new\n")
    expected = None if kind == "no index" else repository.files()

    patch = patch_of(repository)

    found = replayed(first, patch, tmp_path / "clone").files(ignored=True)
    assert found[b"src/model.py"] == ("file", b"changed\n") and found[b"new.txt"] == ("file", b"new\n")
    assert expected is None or found == expected


def test_making_the_patch_writes_nothing_into_the_repository_and_runs_no_hook(
    tmp_path: Path, project: Path, hostile_env: dict[str, str]
) -> None:
    repository = committed_repository(tmp_path / "repository", project, hostile_env)
    for edit in ("text", "binary", "deleted", "untracked", "staged, new"):
        EDITS[edit](repository)
    repository.git("update-index", "--assume-unchanged", "windows.txt")
    repository.write("windows.txt", b"hidden\r\n")
    # whoever writes this index next would, as the user's configuration has it, put a shared one into .git
    repository.git("-c", "core.splitIndex=false", "update-index", "--no-split-index")
    ran = Path(hostile_env["GIT_CONFIG_GLOBAL"]).parent / "hook-ran"
    ran.unlink(missing_ok=True)

    def everything() -> dict[Path, tuple[int, bytes]]:
        """Every file's bytes, and its time where git does not renew that itself to keep the file from being pruned."""
        found = {}
        for path in (path for path in (repository.path / ".git").rglob("*") if path.is_file()):
            renewed = "objects" in path.parts or path.name.startswith("sharedindex.")
            found[path] = (0 if renewed else path.stat().st_mtime_ns, path.read_bytes())
        return found

    before = everything()
    assert patch_of(repository)
    after = everything()
    assert [path.name for path in before.keys() | after.keys() if before.get(path) != after.get(path)] == []
    assert not ran.exists()


def test_clean_and_merely_touched_trees_have_no_patch(repository: Repository) -> None:
    repository.write("ignored/cache", b"x")
    repository.write("debug.log", b"x")
    os.utime(repository.path / "src/model.py", ns=(1, 1))
    repository.write("windows.txt", b"staged\n")
    repository.git("add", "windows.txt")
    repository.write("windows.txt", b"one\r\ntwo\r\nthree\r\n")
    repository.git("rm", "--quiet", "--cached", "gone.txt")

    assert patch_of(repository) == b""


def test_only_the_projects_folder_of_a_bigger_repository_counts(repository: Repository, tmp_path: Path) -> None:
    folder = "one" if sys.platform == "win32" else "o*"  # as a pattern it would match its neighbour
    repository.write(f"projects/{folder}/code.py", b"1\n")
    repository.write("projects/other/code.py", b"neighbour\n")
    repository.commit()
    repository.write("src/model.py", b"another project\n")
    repository.write("projects/other/code.py", b"neighbour's edit\n")
    repository.write("elsewhere.txt", b"x")
    assert patch_of(repository, f"projects/{folder}") == b""

    repository.write(f"projects/{folder}/code.py", b"2\n")
    repository.write(f"projects/{folder}/new.py", b"3\n")
    patch = patch_of(repository, f"projects/{folder}")

    found = replayed(repository, patch, tmp_path / "clone").files(ignored=True)
    assert found[f"projects/{folder}/code.py".encode()][1] == b"2\n"
    assert found[f"projects/{folder}/new.py".encode()][1] == b"3\n"
    assert found[b"src/model.py"][1].startswith(b"line 0\n") and b"elsewhere.txt" not in found


def test_bytes_stay_as_they_are_without_the_projects_attributes(tmp_path: Path, hostile_env: dict[str, str]) -> None:
    """The user's autocrlf would turn these line ends, and the attributes that forbid it are gone."""
    repository = Repository.new(tmp_path / "repository", hostile_env)
    repository.git("config", "core.attributesFile", "no-such-file")
    repository.git("commit", "--quiet", "--allow-empty", "--message=Nothing yet")
    repository.write("windows.txt", b"one\r\ntwo\r\n")
    repository.write("unix.txt", b"one\ntwo\n")

    patch = patch_of(repository)

    assert b"+one\r\n+two\r\n" in patch and b"+one\n+two\n" in patch


def test_files_left_out_by_a_sparse_checkout_are_not_recorded_as_deleted(repository: Repository) -> None:
    repository.write("other/big.txt", b"x\n")
    repository.commit()
    repository.git("sparse-checkout", "set", "--cone", "--sparse-index", "src")
    assert not (repository.path / "other").exists()
    assert patch_of(repository) == b""

    repository.write("src/model.py", b"changed\n")
    repository.write("other/new.txt", b"outside of the cone\n")
    patch = patch_of(repository)

    assert b"+changed" in patch and b"+outside" in patch and b"big.txt" not in patch


def test_a_replaced_commit_object_does_not_hide_an_edit(repository: Repository, tmp_path: Path) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.write("src/model.py", b"second\n")
    second = repository.commit()
    repository.git("reset", "--quiet", "--soft", first)
    repository.git("replace", first, second)

    patch = patch_of(repository)
    repository.git("replace", "--delete", first)

    assert replayed(repository, patch, tmp_path / "clone").files(ignored=True)[b"src/model.py"] == ("file", b"second\n")


@pytest.mark.parametrize("attributes", [b"*.txt text eol=crlf\n", b"*.txt filter=upper\n", b"*.txt ident\n"])
def test_file_that_git_stores_in_other_bytes_is_refused_by_name(attributes: bytes, repository: Repository) -> None:
    repository.write(".gitattributes", attributes)
    repository.git("config", "filter.upper.clean", "tr a-z A-Z")
    repository.commit()
    repository.write("windows.txt", b"changed $Id: 0123$\r\n")

    assert re.search(r"windows\.txt", str(refusal(repository)))


def test_unfinished_merge_is_refused(repository: Repository) -> None:
    for branch, content in (("theirs", b"theirs\n"), ("main", b"ours\n")):
        repository.git("checkout", "--quiet", "-B", branch, "HEAD" if branch == "theirs" else "main")
        repository.write("src/model.py", content)
        repository.commit()
    repository.git("merge", "theirs", check=False)

    assert re.search(r"merge is not finished in src/model\.py.*git merge --abort", str(refusal(repository)))

    repository.write("src/model.py", b"both\n")
    repository.git("add", "src/model.py")
    assert b"+both" in patch_of(repository)


@pytest.mark.parametrize("change", ["new", "empty", "moved on", "edited", "untracked file", "staged"])
def test_change_in_another_repository_inside_is_refused(
    change: str, repository: Repository, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    inner = Repository.new(tmp_path / "inner", clean_env)
    inner.write("lib.py", b"1\n")
    inner.commit()
    nested = Repository(repository.path / "vendor" / "lib", clean_env)
    if change == "empty":
        Repository.new(nested.path, clean_env).write("a.py", b"1\n")
    elif change == "new":
        inner.clone(nested.path)
    else:
        repository.git(
            *("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.path.as_uri(), "vendor/lib")
        )
        repository.git("config", "--file", ".gitmodules", "submodule.vendor/lib.ignore", "all")
        if change != "staged":
            repository.commit()
            assert patch_of(repository) == b""
        nested.git("config", "user.name", "Ada")
        nested.git("config", "user.email", "ada@example.com")
        nested.write("new.py" if change == "untracked file" else "lib.py", b"2\n")
        if change == "moved on":
            nested.commit()

    assert re.search(r"vendor/lib.*commit inside it", str(refusal(repository)))


def test_changes_over_the_limit_are_refused_before_they_are_read(repository: Repository) -> None:
    """Zeros: their patch would be small, so only the size of the files can be the reason."""
    repository.write("huge.dat", bytes(48 * 2**20))
    assert re.search(r"at most 10 MiB.*largest: huge\.dat \(48\.0 MiB\).*\.gitignore", str(refusal(repository)))

    repository.commit()
    (repository.path / "huge.dat").unlink()
    assert re.search(r"huge\.dat \(48\.0 MiB\)", str(refusal(repository)))


def test_patch_over_the_limit_is_refused_and_one_under_it_is_not(repository: Repository) -> None:
    repository.write("noise.dat", random.Random(3).randbytes(7 * 2**20))
    assert patch_of(repository)

    # 9 MiB that cannot be compressed are 11 MiB in a patch
    repository.write("noise.dat", random.Random(3).randbytes(9 * 2**20))
    assert re.search(r"at most 10 MiB.*noise\.dat", str(refusal(repository)))


SECRET_NAMES = [
    *(".env", ".env.production", "deploy/.env-local", "prod.env", ".ENV", "server.pem", "tls/private.key", "id_rsa"),
    *("id_ed25519", "keys/id_ed25519_work", ".netrc", ".pypirc", ".npmrc", ".git-credentials", "credentials.json"),
    *("credentials-prod.json", ".aws/credentials", "store.p12", "store.pfx"),
]
HARMLESS_NAMES = [
    ".env.example",
    "id_rsa.pub",
    "environment.py",
    "monkey.py",
    "credentials.py",
    "keys.md",
    ".env.sample",
]


def test_every_file_named_like_a_secret_is_refused_and_no_other(repository: Repository) -> None:
    names = [*SECRET_NAMES, *HARMLESS_NAMES]
    assert [name for name in names if is_secret_name(name.rpartition("/")[2])] == SECRET_NAMES

    repository.write("deploy/.env", b"PASSPHRASE=correct horse battery\n")
    repository.write("notes.md", b"x")
    message = str(refusal(repository))
    assert re.search(r"deploy/\.env", message)
    assert "horse" not in message and "notes.md" not in message
    assert ".gitignore" in message


# In two halves, so that no scanner takes this file for a leak.
SECRETS = {
    "private key": ("-----BEGIN RSA PRIV", "ATE KEY-----\nMIIEpAIBAAKCAQEA\n"),
    "private key, PKCS 8": ("-----BEGIN PRIV", "ATE KEY-----\nMIIEpAIBAAKCAQEA\n"),
    "AWS": ("AK", "IAQ3EGRT7ABCDEFGHI"),
    "AWS secret": ("aws_secret_", "access_key = " + "wJalrXUtnFEMI/K7MDENGbPxRfiCYzzzzzzzzzzz"),
    "GitHub": ("gh", "p_" + "a1B2" * 9),
    "GitHub, fine-grained": ("github_", "pat_" + "11AAAAAAA0" * 4),
    "GitLab": ("glp", "at-" + "a1B2c3D4e5" * 2),
    "Slack": ("xo", "xb-123456789012-abcdefABCDEF"),
    "Google": ("AI", "za" + "SyA1234567890abcdefghijklmnopqrstuv"),
    "Databricks": ("da", "pi" + "0123456789abcdef" * 2),
    "Hugging Face": ("h", "f_" + "abcDEF1234567890" * 2 + "zz"),
    "URL": ("postgresql://trainer:", "hunter2@db.example.com/mlflow"),
    "URL of a tracking server": ("https://:", "s3cr3t@mlflow.example.com"),
}


def test_every_text_like_a_secret_is_refused_without_being_shown(repository: Repository) -> None:
    for number, (kind, halves) in enumerate(SECRETS.items()):
        repository.write(f"{number}.py", f"# {kind}\nvalue = '{''.join(halves)}'\n".encode())
        assert len(secrets_in((repository.path / f"{number}.py").read_bytes())) == 1, kind

    message = str(refusal(repository))
    assert re.search(r"0\.py \(a private key\).*\.gitignore", message)
    assert not any(second.strip() in message for _, second in SECRETS.values())


def test_secret_in_utf_16_is_refused(repository: Repository) -> None:
    repository.write("powershell.txt", "".join(SECRETS["GitHub"]).encode("utf-16"))
    assert re.search(r"powershell\.txt \(a GitHub token\)", str(refusal(repository)))


HARMLESS = [
    b"url = f'postgresql://{user}:{password}@{host}/db'",
    b"https://user:password@example.com and https://$USER:$TOKEN@example.com",
    b"ssh://git@github.com:22/x and git@github.com:x and http://host:8080/a@b",
    b"https://example.com/a:b@c?x=http://y:1",
    b"-----BEGIN CERTIFICATE-----",
    b"-----BEGIN PUBLIC KEY-----",
    b"task-proj-nothing, dapi, AKIA, ghp_short",
]


def test_harmless_texts_pass(repository: Repository) -> None:
    repository.write("docs.md", b"\n".join(HARMLESS))
    assert patch_of(repository)


def test_search_for_secrets_stays_linear_on_hostile_text() -> None:
    """Backtracking on any of these texts takes hours, and this test would not end."""
    for unit, times in ((b"://", 300_000), (b"://" + b"a" * 64 + b":", 10_000), (b"a", 2_000_000)):
        assert secrets_in(unit * times) == {}
    assert secrets_in((b"-----BEGIN " + b"A " * 20) * 20_000) == {}


def test_committed_secret_passes_until_a_change_touches_it(repository: Repository) -> None:
    secret = "".join(SECRETS["GitHub"]).encode()
    repository.write("settings.py", b"token = '" + secret + b"'\nrate = 1\n")
    repository.write("server.pem", b"committed long ago\n")
    repository.commit()
    repository.write("settings.py", b"token = '" + secret + b"'\nrate = 2\n")
    assert b"+rate = 2" in patch_of(repository)

    # taking it out writes it into the patch as well
    repository.write("settings.py", b"rate = 2\n")
    assert re.search(r"settings\.py \(a GitHub token\)", str(refusal(repository)))


def test_every_reason_to_refuse_is_named_at_once(repository: Repository) -> None:
    repository.write(".gitattributes", b"*.txt text eol=crlf\n")
    repository.commit()
    repository.write("windows.txt", b"changed\r\n")
    repository.write(".env", b"x")
    repository.write("a.py", "".join(SECRETS["AWS"]).encode())

    assert len(refusal(repository).violations) == 3


names = st.text(
    st.characters(codec="utf-8", exclude_characters='/\0\\<>:"|?*\r\n', exclude_categories=("Cs", "Cc", "Cn")),
    min_size=1,
    max_size=12,
).filter(lambda name: name.strip(". ") == name and name.lower() not in (".git", "con", "nul", "aux", "prn"))
contents = st.one_of(
    st.binary(max_size=400),
    st.lists(
        st.sampled_from([b"a", b"b\n", b"c\r\n", b"\r", b"\n", b" \t\n", b"-- x\n", b"@@ -1 +1 @@\n"]), max_size=40
    ).map(b"".join),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.dictionaries(names, contents, max_size=6),
    after=st.dictionaries(names, contents, max_size=6),
    kept=st.randoms(use_true_random=False),
)
def test_any_edit_replays_to_the_byte(
    before: dict[str, bytes],
    after: dict[str, bytes],
    kept: random.Random,
    tmp_path_factory: pytest.TempPathFactory,
    project: Path,
    hostile_env: dict[str, str],
) -> None:
    """Any tree becomes any other; about half of its files are then staged, some keep their name and change."""
    folder = tmp_path_factory.mktemp("edit")
    repository = Repository.new(folder / "repository", hostile_env)
    shutil.copy(project / ".gitattributes", repository.path)
    for name, content in before.items():
        repository.write(name, content)
    repository.commit()
    for name in before:
        choice = kept.choice(["stays", "goes", "changes"])
        if choice == "goes":
            (repository.path / name).unlink(missing_ok=True)
        elif choice == "changes":
            repository.write(name, before[name][::-1] + b"\n")
    for name, content in after.items():
        repository.write(name, content)
    if kept.random() < 0.5:
        repository.git("add", "--all")
        for name in after:
            repository.write(name, b"once more\r\n" + after[name])
    expected = repository.files()

    patch = patch_of(repository)

    clone = replayed(repository, patch, folder / "clone") if patch else repository.clone(folder / "clone")
    assert clone.files(ignored=True) == expected
