"""The app of the gated tracking server: MLflow's own app, with or without logins, behind the gate.

MLflow finds it through the entry point ``mlflow.app``. `repro server run` and ``mlflow server --app-name
reproducibility`` start it.
"""

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mlflow.server import app as flask_app
from mlflow.server import handlers
from mlflow.server.fastapi_app import create_fastapi_app
from starlette.middleware import Middleware

from .artifacts import ArtifactGuard, guard_flask
from .entrance import Entrance
from .logins import make_members
from .registry import GatedAliases
from .s3 import limit_waits
from .store import Gated

if TYPE_CHECKING:
    from fastapi import FastAPI


def create_app() -> "FastAPI":
    """Return the app; ends the process with status 2 if MLflow has opened a store without the gate."""
    store = handlers._get_tracking_store()
    if not isinstance(store, Gated) or not isinstance(handlers._get_model_registry_store(), GatedAliases):
        print("Error: the tracking store has no gate; install the project where the server runs", file=sys.stderr)
        sys.exit(2)
    if find_spec("boto3"):
        limit_waits()
    app = _with_login() if os.environ.get("MLFLOW_AUTH_CONFIG_PATH") else create_fastapi_app(flask_app)
    guard_flask(flask_app, store)
    app.user_middleware.insert(0, Middleware(Entrance, features=store.policy.server_features))
    # The last middleware is the innermost: requests have passed the checks of host and login before they reach it.
    app.user_middleware.append(Middleware(ArtifactGuard, store=store))
    return app


def _with_login() -> "FastAPI":
    from mlflow.server.auth import create_app as create_app_with_login

    app = create_app_with_login(flask_app)
    make_members()
    return app
