"""The gate of a tracking store: which runs may be recorded, which may finish, and what nobody can change afterwards.

MLflow loads `store` and `registry` through the entry points in pyproject.toml, under the names of the databases that
MLflow itself knows. So the gate stands on every way into a database: the fluent API, clients, REST, the pages in the
browser. MLflow loads this module while MLflow itself is being imported, and where loading fails, MLflow goes on with
its own store, without the gate. That is why nothing of MLflow is imported at the top of this module, and why the server
of `server` starts only if the gate is in force.
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


def policy_path() -> Path:
    """Return the base.yaml whose policy holds: the one that the server was started with, else the project's.

    Raises Refused where no project is found.
    """
    # Imported here: this module must load in an environment without a project too, and refuse its databases.
    from ..project import BASE_CONFIG

    return Path(os.environ.get(POLICY_VARIABLE) or BASE_CONFIG).resolve()


def _policy_in_force() -> "Policy":
    from mlflow.exceptions import MlflowException

    if _is_served_without_gate():
        problem = "this server would let everybody change what was recorded"
        raise MlflowException(str(Violation(GATE, problem, "start it with `repro server run`")))
    try:
        from ..project import team_policy

        return team_policy(policy_path())
    except Refused as refused:
        raise MlflowException(str(refused)) from None


def _is_served_without_gate() -> bool:
    """Whether this process is an MLflow server that does not run the app with the gate."""
    if "_MLFLOW_SERVER_FILE_STORE" in os.environ:  # a worker of any server, whatever program runs it
        return f"{__package__}.app" not in sys.modules
    import click

    command = click.get_current_context(silent=True)
    return command is not None and command.info_name == "server" and command.params.get("app_name") != APP
