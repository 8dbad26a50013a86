"""How the gate stands before MLflow's stores: python gate_contract.py JSON, the names of methods that it replaces."""

import json
import sys

from mlflow.server import constants
from mlflow.store.tracking.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore
from reproducibility.gate.store import Gated

found = {
    "overridden for workspaces": sorted(
        set(json.loads(sys.argv[1])) & vars(WorkspaceAwareSqlAlchemyStore).keys() - {"__init__"}
    ),
    "variables": [
        constants.BACKEND_STORE_URI_ENV_VAR,
        constants.ARTIFACT_ROOT_ENV_VAR,
        constants.READ_REPLICA_BACKEND_STORE_URI_ENV_VAR,
    ],
    "gate comes first": [kind.__mro__[1] is Gated for kind in Gated.__subclasses__()],
}
print(json.dumps(found))
