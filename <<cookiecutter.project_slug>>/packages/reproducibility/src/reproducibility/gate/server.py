"""The gated tracking server: it brings its database up to date, and starts only if the gate is in force."""

import os
import socket
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ..display import say
from ..errors import Refused, Violation
from ..project import BASE_CONFIG, PROJECT_ROOT, team_policy
from ..secrets import without_credentials
from ..tracking.store import FILE, connect, tracking_uri, unavailable
from .plugin import APP, POLICY_VARIABLE

_EMBEDDED = "sqlite:///mlflow.db"
_INSTALL = "install requirements-server.txt and the project itself where the server runs"


def serve(host: str, port: int, *, embedded: bool) -> None:
    """Serve until told to stop: the database and artifacts that MLflow's own variables name, or the *embedded* ones.

    Raises Refused with everything that keeps the gate from being in force, StoreUnavailable if the database is away.
    """
    if embedded:
        _choose_embedded()
    database = os.environ.get("MLFLOW_BACKEND_STORE_URI", "")
    if found := [*_against_start(database), *_against_login(), *_against_address(host, port)]:
        raise Refused(found)
    say("bringing the database up to date ...")
    _migrate(database)
    if origins := _own_pages():
        os.environ.setdefault("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", origins)
    os.environ |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", POLICY_VARIABLE: str(_policy_path())}
    from mlflow.cli import server

    # One worker: it keeps what it knows of the policy and of who is logged in to itself, and is fast with these two.
    fast = "--loop uvloop --http httptools" if find_spec("uvloop") and find_spec("httptools") else ""
    options = ["--host", host, "--port", str(port), "--workers", "1", "--app-name", APP]
    print(f"runs are recorded behind the gate, at http://{host}:{port}", flush=True)
    server.main([*options, *(["--uvicorn-opts", fast] if fast else [])], prog_name="server")


def _choose_embedded() -> None:
    """Point the server at the project's own database, and at the folder of artifacts beside it."""
    uri = tracking_uri()
    if uri.startswith("http"):  # the team's server keeps the runs; the project may have some of its own from before
        uri = f"{FILE}{(PROJECT_ROOT / _EMBEDDED.removeprefix(FILE)).as_posix()}"
    beside = Path(uri.removeprefix(FILE)).parent if uri.startswith(FILE) else PROJECT_ROOT
    os.environ["MLFLOW_TRACKING_URI"] = os.environ["MLFLOW_BACKEND_STORE_URI"] = uri
    os.environ["MLFLOW_ARTIFACTS_DESTINATION"] = (beside / "mlartifacts").as_uri()
    connect(create=True)


def _own_pages() -> str:
    """Return where a browser says that it comes from on this server's own pages, for MLFLOW_SERVER_ALLOWED_HOSTS.

    MLflow takes them for another site's, unless they are localhost's, and answers none of their searches.
    """
    hosts = (host.strip() for host in os.environ.get("MLFLOW_SERVER_ALLOWED_HOSTS", "").split(","))
    # A server that goes by any name knows no page for its own.
    return ",".join(f"{scheme}://{host}" for host in hosts if host not in ("", "*") for scheme in ("http", "https"))


def _policy_path() -> Path:
    return Path(os.environ.get(POLICY_VARIABLE) or BASE_CONFIG).resolve()


def _against_start(database: str) -> Iterator[Violation]:
    scheme = database.partition(":")[0].partition("+")[0]
    if not scheme:
        fix = "set it to postgresql://…, or say --embedded for a database in the project"
        yield Violation("MLFLOW_BACKEND_STORE_URI", "it does not say which database the server keeps its runs in", fix)
        return
    if os.environ.get("MLFLOW_SERVE_ARTIFACTS", "true").lower() in ("false", "0"):
        yield Violation("MLFLOW_SERVE_ARTIFACTS", "files that pass the server by can be changed by anybody", "unset it")
    if os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT", "mlflow-artifacts:").partition(":")[0] != "mlflow-artifacts":
        fix = "name the place in MLFLOW_ARTIFACTS_DESTINATION, which only the server reaches"
        yield Violation("MLFLOW_DEFAULT_ARTIFACT_ROOT", "files that pass the server by can be changed by anybody", fix)
    if find_spec("flask") is None:
        yield Violation("mlflow", "only the part of it for clients is installed", _INSTALL)
    try:
        team_policy(_policy_path())
    except Refused as refused:
        yield from refused.violations
    for group, name in _entry_points(scheme):
        yield from _against_entry_point(group, name)


def _entry_points(scheme: str) -> Iterator[tuple[str, str]]:
    yield "mlflow.tracking_store", scheme
    yield "mlflow.model_registry_store", scheme
    yield "mlflow.app", APP


def _against_entry_point(group: str, name: str) -> Iterator[Violation]:
    """Yield why MLflow would not find this project's gate under *name*: it would then go on without one, silently."""
    found = [point for point in metadata.entry_points(group=group, name=name)]
    if len(found) != 1 or not found[0].module.startswith(f"{__package__}."):
        known = ", ".join(point.value for point in found) or "nothing"
        problem = f"MLflow finds {known} under {name!r}, so the gate would not be in force"
        yield Violation(group, problem, _INSTALL)
        return
    if group != "mlflow.app":
        try:
            found[0].load()
        except Exception as error:
            yield Violation(group, f"the gate cannot be loaded: {error}", _INSTALL)


def _against_login() -> Iterator[Violation]:
    config = os.environ.get("MLFLOW_AUTH_CONFIG_PATH")
    if config and not Path(config).is_file():
        yield Violation("MLFLOW_AUTH_CONFIG_PATH", f"there is no file {config}", "correct the path, or unset it")
    if config and not os.environ.get("MLFLOW_FLASK_SERVER_SECRET_KEY"):
        fix = "set it to a long random text, the same at every start"
        yield Violation("MLFLOW_FLASK_SERVER_SECRET_KEY", "a server with logins needs it to sign its forms", fix)


def _against_address(host: str, port: int) -> Iterator[Violation]:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            pass
    except (OSError, OverflowError) as error:
        why = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        yield Violation(f"{host}:{port}", f"nothing can be served there: {why}", "choose another: --host, --port 5001")


def _migrate(database: str) -> None:
    """Create the tables of a new database, or bring those of an older MLflow to the form that this one reads."""
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from mlflow.store.db import utils
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = utils.create_sqlalchemy_engine_with_retry(database)
        utils._safe_initialize_tables(engine)
        utils._upgrade_db(engine)
        engine.dispose()
    except CommandError as error:
        fix = "Start the MLflow that wrote it last, or restore a backup"
        raise unavailable(without_credentials(database), f"another MLflow made it ({error})", fix) from error
    except (SQLAlchemyError, MlflowException, ModuleNotFoundError) as error:
        raise unavailable(without_credentials(database), error) from error
