"""A run as the gate reads it: its tags and params in the database, and its files of evidence."""

import os
import posixpath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE, ErrorCode
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from ..errors import GATE, Violation
from ..evidence import CONFIG, EVIDENCE, MANIFEST, PATCH, size_problem
from ..lockfile import LOCK
from ..secrets import recordable
from .s3 import Relay


class GuardedRun(NamedTuple):
    """The part of a run that the gate checks. MLflow's own `get_run` also fetches metrics, inputs and models."""

    run_id: str
    experiment_id: str
    artifact_uri: str
    tags: dict[str, str]
    params: dict[str, str]


class TooLarge(Exception):
    """A file of evidence has too many bytes to be read."""


def evidence(run: GuardedRun) -> dict[str, bytes]:
    """Return the files of evidence of *run*, {name: content}, from the place where this store keeps files.

    Raises TooLarge for a file with more bytes than evidence may have, and MlflowException where they cannot be read,
    with a code after which a client sends its request again.
    """
    try:
        repository, folder = _repository(run.artifact_uri)
        found = {name: _content(repository, f"{folder}/{name}") for name in (MANIFEST, CONFIG, LOCK, PATCH)}
    except TooLarge:
        raise
    except Exception as error:
        problem = f"the evidence of run {run.run_id} cannot be read ({recordable(error)})"
        fix = "make the store of the artifacts work, then end the run again"
        raise MlflowException(str(Violation(GATE, problem, fix)), TEMPORARILY_UNAVAILABLE) from error
    return {name: content for name, content in found.items() if content is not None}


def _content(repository: Any, path: str) -> bytes | None:
    """Return a file of *repository*; None if there is no such file. Raises whatever the store raises."""
    if isinstance(repository, Relay):
        return repository.content(path, _require_size)
    try:
        if (local := repository.get_local_path(path)) is not None:
            _require_size(path, os.path.getsize(local))
            return Path(local).read_bytes()
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return None
        raise
    # Of another kind: a store in a file may name any.
    if path not in {file.path for file in repository.list_artifacts(posixpath.dirname(path))}:
        return None
    with TemporaryDirectory() as folder:
        copy = Path(repository.download_artifacts(path, folder))
        _require_size(path, copy.stat().st_size)
        return copy.read_bytes()


def _require_size(path: str, size: int) -> None:
    if problem := size_problem(posixpath.basename(path), size):
        raise TooLarge(problem)


def _repository(uri: str) -> tuple[Any, str]:
    if not uri.startswith("mlflow-artifacts:"):
        return get_artifact_repository(uri), EVIDENCE
    # This server keeps the files itself. A request to its own address would block a server that has one worker.
    from mlflow.server import handlers

    path = handlers._get_proxied_run_artifact_destination_path(uri, EVIDENCE)
    return (
        handlers._get_artifact_repo_mlflow_artifacts(),
        handlers._get_workspace_scoped_repo_path_if_enabled(path),
    )
