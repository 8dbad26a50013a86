"""The gate of a tracking store: which runs it takes in, which it lets finish, and what nobody can change afterwards.

MLflow loads `store` through the entry points ``mlflow.tracking_store`` in pyproject.toml, under the names of the
databases it knows itself, and so meets the gate on every way into a database: the fluent API, clients, REST, the pages
in the browser. It does so while it is being imported, and falls back to its own store without the gate if that fails:
so nothing of MLflow is imported here at the top, and the server of `server` starts only if the gate is in force.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GATE, Refused, Violation

if TYPE_CHECKING:
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as ModelRegistry
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    from ..policy import Policy


# The name of the server's app among MLflow's entry points.
APP = "reproducibility"
# Where the server finds the team's policy: a path of a base.yaml.
POLICY_VARIABLE = "REPRODUCIBILITY_POLICY"


def store(store_uri: str, artifact_uri: str | None = None) -> "SqlAlchemyStore":
    """Return MLflow's store for a database, with the gate in front; raises MlflowException if it cannot be in force."""
    from .store import open_store

    return open_store(store_uri, artifact_uri, _policy_in_force())


def registry(store_uri: str, **_: object) -> "ModelRegistry":
    """Return MLflow's model registry in a database, with the gate in front; raises MlflowException as `store` does."""
    from .registry import open_registry

    return open_registry(store_uri, _policy_in_force())


def _policy_in_force() -> "Policy":
    from mlflow.exceptions import MlflowException

    if _is_served_by_another():
        problem = "this server would let everybody change what was recorded"
        raise MlflowException(str(Violation(GATE, problem, "start it with `repro server run`")))
    try:
        # Here, not above: an environment in which no project is found must refuse its databases, too.
        from ..project import BASE_CONFIG, team_policy

        return team_policy(Path(os.environ.get(POLICY_VARIABLE) or BASE_CONFIG))
    except Refused as refused:
        raise MlflowException(str(refused)) from None


def _is_served_by_another() -> bool:
    """Whether this process is an MLflow server that does not run the app with the gate."""
    if "_MLFLOW_SERVER_FILE_STORE" in os.environ:  # a worker of any server, whatever program runs it
        return f"{__package__}.app" not in sys.modules
    import click

    command = click.get_current_context(silent=True)
    return command is not None and command.info_name == "server" and command.params.get("app_name") != APP
