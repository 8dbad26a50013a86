"""The relay: a server keeps its files in an S3 store, and passes them on in both directions.

MLflow's own server sends clients to the store instead, for downloads and for large uploads. In a deployment clients
cannot reach the store, and hang for minutes. And the store would not check whether the run of a file has ended.
"""

import posixpath
from collections.abc import Callable
from typing import Any

from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository


def limit_waits() -> None:
    """Let every client of S3 in this process give up on a store that hangs after about 45 seconds."""
    import boto3
    import botocore.session
    from botocore.config import Config

    session = botocore.session.get_session()
    session.set_default_client_config(Config(connect_timeout=3, read_timeout=20, retries={"total_max_attempts": 2}))
    boto3.setup_default_session(botocore_session=session)


class Relay(ArtifactRepository):
    """Files at an ``s3://`` address, always sent through the server. Creates the bucket if there is none."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        self._s3 = S3ArtifactRepository(artifact_uri, tracking_uri=tracking_uri, registry_uri=registry_uri)
        self.client: Any = self._s3._get_s3_client()  # boto3's, for the store that MLflow's variables name
        self.bucket, self.prefix = self._s3.parse_s3_compliant_uri(artifact_uri)
        self._has_bucket = False

    def require_bucket(self) -> None:
        """Create the bucket unless it is there. Not at the start: a store that hangs would stop the whole server."""
        if self._has_bucket:
            return
        try:
            self.client.head_bucket(Bucket=self.bucket)
        except self.client.exceptions.ClientError as error:
            # Any other error occurs again at the first use of the bucket, and is reported there.
            if error.response["Error"]["Code"] == "404":
                self.client.create_bucket(Bucket=self.bucket)
        self._has_bucket = True

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        self.require_bucket()
        self._s3.log_artifact(local_file, artifact_path)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        self.require_bucket()
        self._s3.log_artifacts(local_dir, artifact_path)

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        self.require_bucket()
        return self._s3.list_artifacts(path)

    def content(self, path: str, require_size: Callable[[str, int], None]) -> bytes | None:
        """Return the content of one file, if *require_size* lets its path and size pass; None if there is no file."""
        try:
            found = self.client.get_object(Bucket=self.bucket, Key=posixpath.join(self.prefix, path))
        except (self.client.exceptions.NoSuchKey, self.client.exceptions.NoSuchBucket):
            return None
        require_size(path, found["ContentLength"])
        return found["Body"].read()

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        self._s3.delete_artifacts(artifact_path)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        self._s3._download_file(remote_file_path, local_path)
