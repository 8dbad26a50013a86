"""The weekly pull request with renewed locks. A program stands in for GitHub's gh; git and the remote are real."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import Repository
from upstream import template_repository
from workbench import SCRIPTS

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows starts no script by its first line")
URL = "https://github.com/org/template/pull/3"


@POSIX
def test_renewed_locks_are_proposed_and_nothing_else(clean_env: dict[str, str], tmp_path: Path) -> None:
    renewing = template_repository(tmp_path / "renewing", clean_env)
    origin = Repository.new(tmp_path / "origin.git", clean_env, "--bare")
    renewing.git("push", "--quiet", str(origin.path), "main")
    pushing = origin.clone(tmp_path / "pushing", "--branch", "main")
    shutil.copyfile(SCRIPTS / "gh.py", tmp_path / "gh")
    (tmp_path / "gh").chmod(0o755)
    env = clean_env | {"PATH": os.pathsep.join([str(tmp_path), clean_env["PATH"]]), "GH_LOG": str(tmp_path / "gh.log")}

    def run(repository: Repository, *arguments: str, **more: str) -> str:
        command = [sys.executable, "renewed_locks.py", *arguments, str(tmp_path / "locks")]
        done = subprocess.run(
            command, cwd=repository.path, env=env | more, check=False, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run(renewing, "--collect") == "0 locks were renewed.\n"
    assert run(pushing) == "No lock was renewed: there is nothing to propose.\n"

    changed = ["<<cookiecutter.project_slug>>/requirements-dev.txt", "requirements.txt"]
    for name in (*changed, "README.md"):
        renewing.write(name, (renewing.path / name).read_bytes() + b"# newer\n")
    assert run(renewing, "--collect") == "2 locks were renewed.\n"
    assert run(pushing, GH_OPEN=json.dumps([{"url": URL}])).startswith(f"{URL} is open: merge it or close it")
    assert "renewed-locks" not in origin.git("branch")
    assert run(pushing).startswith("Opened https://github.com/")
    assert origin.git("diff", "--name-only", "main", "renewed-locks").split("\n") == changed
    assert origin.git("show", "renewed-locks:requirements.txt").endswith("# newer")
    assert origin.git("log", "-1", "--format=%an %s", "renewed-locks") == "github-actions[bot] Renew the locks"
