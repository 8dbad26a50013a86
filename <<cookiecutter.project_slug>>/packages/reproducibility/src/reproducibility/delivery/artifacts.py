"""Files of a run and of its models: kept in the run's journal when they are logged, and uploaded from there."""

import os
import posixpath
import re
import shutil
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import verify_artifact_path
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
from mlflow.utils.uri import validate_path_is_safe

from . import shipper
from .journal import Ended, Journal
from .limits import refuse_entry
from .registry import journal_of, model_of
from .shipping import deliver

# MLflow's layout: EXPERIMENT/RUN/artifacts/..., EXPERIMENT/models/MODEL/artifacts/...
_OWNER = re.compile(
    r"/(?:models/(?P<model>m-[0-9a-f]{32})|(?P<run>[0-9a-f]{32}))/artifacts(?:/(?P<path>.*))?$", re.DOTALL
)


class DurableArtifacts(MlflowArtifactsRepository):
    """MLflow's client of the files that a tracking server keeps. What is logged into a run is kept in its journal."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        found = _OWNER.search(urlsplit(artifact_uri).path) if not urlsplit(artifact_uri).netloc else None
        self._owner = (found["model"] or found["run"]) if found else ""
        self._inside = unquote(found["path"] or "") if found else ""

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        verify_artifact_path(artifact_path)
        if (journal := self._journal()) is None:
            return super().log_artifact(local_file, artifact_path)
        # The server checks it too, but later than at the call.
        to = validate_path_is_safe(posixpath.join(self._inside, artifact_path or "", os.path.basename(local_file)))
        copy = journal.copy(local_file)
        try:
            journal.append({"file": copy, "of": self._owner, "to": to})
        except Ended:
            journal.file(copy).unlink(missing_ok=True)
            refuse_entry(journal.run_id)

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        if (journal := self._journal()) is None or shipper.is_shipped(journal):
            return super().list_artifacts(path)
        return self._waiting_in(journal, path)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        if (journal := self._journal()) is not None:
            deliver(journal, shipper.READ_PATIENCE_S)
        super().delete_artifacts(artifact_path)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        if (journal := self._journal()) is None or shipper.is_shipped(journal):
            return super()._download_file(remote_file_path, local_path)
        copies = self._copies(journal)
        wanted = posixpath.join(self._inside, remote_file_path)
        if wanted not in copies:
            return super()._download_file(remote_file_path, local_path)
        shutil.copyfile(journal.file(copies[wanted]), local_path)

    def _journal(self) -> Journal | None:
        if (made_here := model_of(self._owner)) is not None:
            return made_here[0]
        return journal_of(self._owner)

    def _copies(self, journal: Journal) -> dict[str, str]:
        """Return {path: name of its copy} of the files that wait for the server."""
        files = (entry for log in journal.logs() for entry, _ in journal.entries(log) if "file" in entry)
        return {
            each["to"]: each["file"]
            for each in files
            if each["of"] == self._owner and journal.file(each["file"]).exists()
        }

    def _waiting_in(self, journal: Journal, path: str | None) -> list[FileInfo]:
        folder = posixpath.join(self._inside, path or "", "")
        found: dict[str, FileInfo] = {}
        for to, copy in self._copies(journal).items():
            if to.startswith(folder):
                name, is_dir, _ = to.removeprefix(folder).partition("/")
                size = None if is_dir else journal.file(copy).stat().st_size
                found[name] = FileInfo(posixpath.join(path or "", name), bool(is_dir), size)
        return [found[name] for name in sorted(found)]


def keep_repository(owner: str, repository: Any) -> None:
    """Let MLflow log the files of a run or a model to *repository*: it would ask the server where they are kept."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache[owner] = repository
