"""Where MLflow finds the durable store and its files: entry points in pyproject.toml.

MLflow loads this module while MLflow itself is being imported. So nothing of MLflow is imported at its top.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .artifacts import DurableArtifacts
    from .store import DurableStore


def store(store_uri: str, **_: object) -> "DurableStore":
    """Return MLflow's store for the server at *store_uri*; what a run says there is kept until the server has it."""
    from .store import DurableStore

    return DurableStore(store_uri)


def artifacts(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> "DurableArtifacts":
    """Return MLflow's repository of the files that a server keeps at *artifact_uri*."""
    from .artifacts import DurableArtifacts

    return DurableArtifacts(artifact_uri, tracking_uri, registry_uri)
