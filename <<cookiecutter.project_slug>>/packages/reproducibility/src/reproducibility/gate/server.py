"""The gated tracking server: brings its database up to date, and starts only if the gate is in force."""

import os
import socket
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path

from ..display import say
from ..errors import Refused, Violation, refuse
from ..project import PROJECT_ROOT, team_policy
from ..tracking.store import FILE, connect, tracking_uri, unavailable
from .plugin import APP, POLICY_VARIABLE, policy_path

_EMBEDDED = f"{FILE}{(PROJECT_ROOT / 'mlflow.db').as_posix()}"
_DRAIN_S = 20  # how long a server that is stopped goes on with what it was asked
# The names of this machine that no page in a browser can make point elsewhere. MLflow's own list has 10.*, which fits
# 10.evil.example too. [[] is a bracket in a pattern.
_LOOPBACK_HOSTS = "localhost,localhost:*,127.0.0.1,127.0.0.1:*,[::1],[[]::1]:*"
_CONNECT_SECONDS = "3"  # how long to wait for PostgreSQL's answer before the server starts
_KEY_VARIABLE = "MLFLOW_CRYPTO_KEK_PASSPHRASE"
_INSTALL = "start it with `nox -s server`, which installs requirements-server.txt in an environment of its own"
_DATABASE_FIX = "Start the database, or correct MLFLOW_BACKEND_STORE_URI; requirements-server.txt has its driver"


def serve(host: str, port: int, *, embedded: bool, opens: Callable[[], None] | None = None) -> None:
    """Serve until a signal ends the process: MLflow's own variables name database and artifacts.

    embedded: serve the project's own database and artifacts instead. opens: what opens a page for the person who
    started the server, and is called just before the server starts; such a person gets no line for each request.

    Raises Refused with everything that keeps the gate from being in force, and StoreUnavailable, within ten seconds, if
    the database cannot be reached.
    """
    if embedded:
        _choose_embedded()
    database = os.environ.get("MLFLOW_BACKEND_STORE_URI", "")
    if found := [*_gate_violations(database), *_login_violations(), *_address_violations(host, port)]:
        raise Refused(found)
    if not database.startswith(FILE):
        _require_answer(database)
    try:
        with warnings.catch_warnings(action="ignore"):  # of MLflow, about libraries of its own
            import_module(f"{__package__}.app")
    except Exception as error:  # MLflow would report the same error as a traceback, in a process of its own
        refuse("gate", f"it cannot be loaded: {error}", _INSTALL)
    say("bringing the database up to date ...")
    if embedded:
        connect(create=True)
    _migrate(database)
    if origins := _own_pages():
        os.environ.setdefault("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", origins)
    if _is_loopback(host):
        os.environ.setdefault("MLFLOW_SERVER_ALLOWED_HOSTS", _LOOPBACK_HOSTS)
    policy = policy_path()
    runs_jobs = "jobs" in team_policy(policy).server_features
    os.environ |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": str(runs_jobs).lower(), POLICY_VARIABLE: str(policy)}
    from mlflow.cli import server

    # One worker, because each keeps policy and logins in its own memory. These two libraries make it fast.
    fast = "--loop uvloop --http httptools" if find_spec("uvloop") and find_spec("httptools") else ""
    # A server that is stopped first answers what it was asked. Clients keep what it does not take any more.
    quiet = "--no-access-log" if opens is not None else ""
    options_of_uvicorn = " ".join(filter(None, [fast, quiet, f"--timeout-graceful-shutdown {_DRAIN_S}"]))
    options = ["--host", host, "--port", str(port), "--workers", "1", "--app-name", APP]
    print(f"runs are recorded behind the gate, at http://{host}:{port}", flush=True)
    if opens is not None:
        opens()
    server.main([*options, "--uvicorn-opts", options_of_uvicorn], prog_name="server")


def _choose_embedded() -> None:
    """Point the server at the project's own database, and at the folder of artifacts beside it."""
    uri = tracking_uri()
    if uri.startswith("http"):  # the team's server keeps the runs; the project may have older runs of its own
        uri = _EMBEDDED
    beside = Path(uri.removeprefix(FILE)).parent if uri.startswith(FILE) else PROJECT_ROOT
    os.environ["MLFLOW_TRACKING_URI"] = os.environ["MLFLOW_BACKEND_STORE_URI"] = uri
    os.environ["MLFLOW_ARTIFACTS_DESTINATION"] = (beside / "mlartifacts").as_uri()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _own_pages() -> str:
    """Return the origins of this server's own pages, ``http://host,https://host``, for MLFLOW_SERVER_ALLOWED_HOSTS.

    MLflow takes pages of a host other than localhost for those of another site, and answers none of their searches.
    """
    hosts = (host.strip() for host in os.environ.get("MLFLOW_SERVER_ALLOWED_HOSTS", "").split(","))
    # "*" allows every host name: then no origin is known to be the server's own.
    return ",".join(f"{scheme}://{host}" for host in hosts if host not in ("", "*") for scheme in ("http", "https"))


def _gate_violations(database: str) -> Iterator[Violation]:
    """Yield what keeps the gate from being in force for *database*."""
    scheme = database.partition(":")[0].partition("+")[0]
    if not scheme:
        fix = "set it to postgresql://…, or say --embedded for a database in the project"
        yield Violation("MLFLOW_BACKEND_STORE_URI", "it does not say which database the server keeps its runs in", fix)
        return
    bypass = "anybody can change files that do not go through the server"
    if os.environ.get("MLFLOW_SERVE_ARTIFACTS", "true").lower() in ("false", "0"):
        yield Violation("MLFLOW_SERVE_ARTIFACTS", bypass, "unset it")
    if os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT", "mlflow-artifacts:").partition(":")[0] != "mlflow-artifacts":
        fix = "name the place in MLFLOW_ARTIFACTS_DESTINATION, which only the server reaches"
        yield Violation("MLFLOW_DEFAULT_ARTIFACT_ROOT", bypass, fix)
    if find_spec("flask") is None:
        yield Violation("mlflow", "only the part of it for clients is installed", _INSTALL)
    try:
        features = team_policy(policy_path()).server_features
    except Refused as refused:
        features = ()
        yield from refused.violations
    if "gateway" in features and not os.environ.get(_KEY_VARIABLE):
        problem = "the gateway would encrypt the keys that it holds with a passphrase that everybody knows"
        yield Violation(_KEY_VARIABLE, problem, "set it to a long random text, the same at every start")
    yield from _entry_point_violations("mlflow.tracking_store", scheme)
    yield from _entry_point_violations("mlflow.model_registry_store", scheme)
    yield from _entry_point_violations("mlflow.app", APP)


def _entry_point_violations(group: str, name: str) -> Iterator[Violation]:
    """Yield why MLflow would not find this gate under *name*. MLflow would go on without a gate, and say nothing."""
    found = list(metadata.entry_points(group=group, name=name))
    if len(found) != 1 or not found[0].module.startswith(f"{__package__}."):
        known = ", ".join(point.value for point in found) or "nothing"
        problem = f"MLflow finds {known} under {name!r}, so the gate would not be in force"
        yield Violation(group, problem, _INSTALL)


def _login_violations() -> Iterator[Violation]:
    config = os.environ.get("MLFLOW_AUTH_CONFIG_PATH")
    if config and not Path(config).is_file():
        yield Violation("MLFLOW_AUTH_CONFIG_PATH", f"there is no file {config}", "correct the path, or unset it")
    if config and not os.environ.get("MLFLOW_FLASK_SERVER_SECRET_KEY"):
        fix = "set it to a long random text, the same at every start"
        yield Violation("MLFLOW_FLASK_SERVER_SECRET_KEY", "a server with logins needs it to sign its forms", fix)


def _address_violations(host: str, port: int) -> Iterator[Violation]:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            pass
    except (OSError, OverflowError) as error:
        why = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        yield Violation(f"{host}:{port}", f"nothing can be served there: {why}", "choose another: --host, --port 5001")


def _require_answer(database: str) -> None:
    """Raise StoreUnavailable within seconds if *database* does not answer: MLflow would try for minutes."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    is_ours = "PGCONNECT_TIMEOUT" not in os.environ
    os.environ.setdefault("PGCONNECT_TIMEOUT", _CONNECT_SECONDS)
    try:
        engine = create_engine(database)
        engine.connect().close()
        engine.dispose()
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        raise unavailable(database, error, _DATABASE_FIX) from error
    finally:
        if is_ours:  # the server itself may wait longer for a connection
            del os.environ["PGCONNECT_TIMEOUT"]


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
        raise unavailable(database, f"another MLflow made it ({error})", fix) from error
    except (SQLAlchemyError, MlflowException) as error:
        raise unavailable(database, error) from error
