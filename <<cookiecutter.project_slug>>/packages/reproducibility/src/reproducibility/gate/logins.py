"""The logins of a server: who sends a request, and what only a run's author, an admin or a prover may do."""

import os
from contextvars import ContextVar
from typing import Any

from ..errors import GATE, Violation
from ..policy import Policy

# Who sends the request, where FastAPI answers it. Flask keeps this itself.
sender: ContextVar[str | None] = ContextVar("sender", default=None)
MEMBERS = "members"  # the role of those who record
_EDITED = ("experiment", "registered_model", "prompt")


def current_login() -> str | None:
    """Return who is logged in, according to MLflow's basic-auth app; None on a server without logins."""
    if not os.environ.get("MLFLOW_AUTH_CONFIG_PATH"):
        return None
    try:
        from flask import g, has_app_context
    except ImportError:  # no server, and then no flask
        return None
    return g.get("mlflow_authenticated_user") if has_app_context() else sender.get()


def is_admin(login: str) -> bool:
    return _auth().store.get_user(login).is_admin


def ownership_refusal(run_id: str, owner: str, what: str) -> Violation | None:
    """Return why who is logged in may not do something to a run of *owner*; None if they may, and without logins.

    *what* is a clause, for example ``it takes no more metrics``.
    """
    login = current_login()
    if login is None or login == owner or is_admin(login):
        return None
    problem = f"run {run_id} belongs to {owner[:80]!r}, and {login!r} is logged in: {what}"
    return Violation(GATE, problem, "ask its author or an admin; notes and tags of your own can be added to it")


def prover_refusal(policy: Policy, what: str) -> Violation | None:
    """Return why *what* does not count from who is logged in; None if it does: from admins and provers of *policy*."""
    login = current_login()
    if login is None or is_prover(login, policy):
        return None
    problem = f"{what} does not count from {login!r}"
    return Violation(GATE, problem, "let a login reproduce the run that `policy.provers` names, such as that of CI")


def is_prover(login: str, policy: Policy) -> bool:
    """Whether verdicts of *login* count. A run may name a login that does not exist any more, or never did."""
    store = _auth().store
    return login in policy.provers or (store.has_user(login) and store.get_user(login).is_admin)


def reader_refusal(kind: str) -> Violation | None:
    """Return why who is logged in may not create something of *kind* (``experiment``); None if they may."""
    login = current_login()
    if login is None or is_admin(login):
        return None
    auth = _auth()
    user, workspace = auth.store.get_user(login).id, auth.workspace_context.get_request_workspace() or _workspace()
    granted = auth._role_grant_for_resource(user, kind, "*", workspace)
    if (granted or auth.get_permission(auth.auth_config.default_permission)).can_update:
        return None
    problem = f"{login!r} can only read, and so creates no {kind.replace('_', ' ')}"
    return Violation(GATE, problem, f"ask an admin for the role `{MEMBERS}`")


def make_members() -> None:
    """Make the role of those who record, unless it is there: the admin gives it to logins."""
    store = _auth().store
    if any(role.name == MEMBERS for role in store.list_roles([_workspace()])):
        return
    role = store.create_role(MEMBERS, _workspace(), "records runs and registers models")
    for kind in _EDITED:
        store.add_role_permission(role.id, kind, "*", "EDIT")


def _auth() -> Any:
    from mlflow.server import auth

    return auth


def _workspace() -> str:
    from mlflow.utils.workspace_utils import DEFAULT_WORKSPACE_NAME

    return DEFAULT_WORKSPACE_NAME
