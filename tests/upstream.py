"""The template as a team has it on a server: a repository with one commit, to which a test adds newer versions."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from conftest import TEMPLATE
from repository import Repository

NOT_COPIED = (".git", "__pycache__", ".*cache", ".nox", ".venv")


def template_repository(path: Path, env: Mapping[str, str]) -> Repository:
    """Return a new repository at *path* with the template as it is now."""
    shutil.copytree(TEMPLATE, path, ignore=shutil.ignore_patterns(*NOT_COPIED))
    repository = Repository.new(path, env)
    repository.commit()
    return repository
