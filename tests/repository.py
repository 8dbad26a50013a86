"""A real git repository in a scratch folder, with an identity of its own and nothing of the machine's configuration."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest


def take_environment(monkeypatch: pytest.MonkeyPatch, env: Mapping[str, str]) -> None:
    """Give this process exactly the variables in *env*, until the test ends: the machinery then sees what git sees."""
    for name in os.environ.keys() - env.keys():
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)


class Repository:
    """A work tree at *path*; git runs in it with *env*."""

    def __init__(self, path: Path, env: Mapping[str, str]) -> None:
        self.path = path
        self.env = dict(env)

    @classmethod
    def new(cls, path: Path, env: Mapping[str, str], *options: str) -> "Repository":
        """Make *path* a repository on branch main without a commit."""
        path.mkdir(parents=True, exist_ok=True)
        repository = cls(path, env)
        repository.git("init", "--quiet", "--initial-branch=main", *options)
        repository.git("config", "user.name", "Ada Lovelace")
        repository.git("config", "user.email", "ada@example.com")
        return repository

    def git(self, *arguments: str, check: bool = True) -> str:
        """Run git and return what it printed, without the last line end."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env=self.env,
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
        assert not check or done.returncode == 0, f"git {arguments}: {done.stderr}"
        return done.stdout.removesuffix("\n")

    def write(self, name: str, content: bytes) -> Path:
        """Write a file, making the folders above it."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def commit(self) -> str:
        """Commit everything that git does not ignore; return the commit's id."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=Another step")
        return self.git("rev-parse", "HEAD")

    def clone(self, path: Path, *options: str) -> "Repository":
        """Return a clean clone at *path*, made over the `file` protocol."""
        self.git("-c", "protocol.file.allow=always", "clone", "--quiet", *options, self.path.as_uri(), str(path))
        return Repository(path, self.env)

    def files(self, *, ignored: bool = False) -> dict[bytes, tuple[str, bytes]]:
        """Return every file in the work tree: its name, its kind (link, program or file) and its bytes.

        Untracked files that .gitignore names are left out, unless *ignored* is true.
        """
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", *([] if ignored else ["--exclude-standard"])],
            cwd=self.path,
            env=self.env,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        found = {}
        for name in listed.split(b"\0")[:-1]:
            path = os.path.join(os.fsencode(self.path), name)
            if os.path.islink(path):
                found[name] = ("link", os.readlink(path))
            elif os.path.isfile(path):
                with open(path, "rb") as stream:
                    found[name] = ("program" if os.stat(path).st_mode & 0o100 else "file", stream.read())
        return found
