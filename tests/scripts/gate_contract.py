"""What MLflow has of the methods that the gate relies on: python gate_contract.py JSON. See test_gate_in_force.py."""

import inspect
import json
import sys

from mlflow.server import constants, handlers
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.tracking.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore
from reproducibility.gate.store import Gated


def signatures(kind: type, names: list[str]) -> dict[str, list[str]]:
    return {name: list(inspect.signature(getattr(kind, name)).parameters) for name in names}


wanted = json.loads(sys.argv[1])
found = {
    "store": signatures(SqlAlchemyStore, wanted["store"]),
    "registry": signatures(Registry, wanted["registry"]),
    "checking": [
        name
        for name in wanted["checking"]
        if "_check_run_is_active" in inspect.getsource(getattr(SqlAlchemyStore, name))
    ],
    "overridden for workspaces": sorted(
        set(wanted["store"]) & vars(WorkspaceAwareSqlAlchemyStore).keys() - {"__init__"}
    ),
    "functions": [name for name in wanted["functions"] if callable(getattr(handlers, name, None))],
    "variables": [
        constants.BACKEND_STORE_URI_ENV_VAR,
        constants.ARTIFACT_ROOT_ENV_VAR,
        constants.READ_REPLICA_BACKEND_STORE_URI_ENV_VAR,
    ],
    "gate comes first": [kind.__mro__[1] is Gated for kind in Gated.__subclasses__()],
}
print(json.dumps(found))
