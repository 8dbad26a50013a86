"""The tracking store: where runs are recorded, how long to wait for it, and what to say when it is away."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from filelock import FileLock
from pydantic import field_validator

from ..config.loader import Section, load_section
from ..errors import Refused, StoreEmpty, StoreUnavailable, gate_violation
from ..project import BASE_CONFIG, PROJECT_ROOT
from ..provenance.code import inside_image
from ..secrets import recordable, without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run


_SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")
FILE = "sqlite:///"
_ARTIFACTS = "mlartifacts"
# Where a person is waiting, less patience still than elsewhere: at the first contact, and when a failed run is ended.
_IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}
_DATABASE_RETRIES = 5  # in MLflow's rhythm under three seconds; its own ten take a hundred


def unavailable(
    uri: str, reason: object, fix: str | None = None, kind: type[StoreUnavailable] = StoreUnavailable
) -> StoreUnavailable:
    """Return the error for the store at *uri*: *reason* in the words of a person, and what to do about it.

    fix: what to do, as a sentence without its full stop; by default what usually helps with such a store.
    """
    why = str(reason) if fix else _in_short(recordable(str(reason).strip().partition("\n")[0]))
    if fix is None:
        fix = _usual_fix(uri, why)
    return kind(f"the tracking store {without_credentials(uri)} cannot be used: {why.rstrip('.')}. {fix}.")


def _usual_fix(uri: str, why: str) -> str:
    if "error code 401" in why or "error code 403" in why:
        return "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to what the server knows you by"
    if uri.startswith("http"):
        return "Start the server, or correct tracking.uri in configs/base.yaml or MLFLOW_TRACKING_URI"
    if not uri.startswith(FILE):
        return "Check tracking.uri in configs/base.yaml and MLFLOW_TRACKING_URI, and that the lock has its driver"
    if inside_image(PROJECT_ROOT):
        fix = 'Mount a folder, run as its owner with --user "$(id -u):$(id -g)", and name a database in it'
        return f"{fix} with -e MLFLOW_TRACKING_URI=sqlite:////…"
    return "Check tracking.uri in configs/base.yaml and MLFLOW_TRACKING_URI, and that the folder can be written"


def _in_short(reason: str) -> str:
    """Return a network library's *reason* in the words of a person; any other as it is."""
    for sign, words in (
        ("NameResolutionError", "its host name is not known"),
        ("Connection refused", "nothing answers there (connection refused)"),
        ("timed out", "it does not answer in time"),
    ):
        if sign in reason:
            return words
    return reason[:300]


class Tracking(Section):
    """The section ``tracking`` of configs/base.yaml: where the whole team logs to."""

    uri: str

    @field_validator("uri")
    @classmethod
    def _known_scheme(cls, uri: str) -> str:
        if problem := _problem(uri):
            raise ValueError(problem)
        return uri


def _problem(uri: str) -> str | None:
    if uri.partition(":")[0].partition("+")[0] not in _SCHEMES or "://" not in uri:
        address = "sqlite:///mlflow.db, or your server's http:// or https:// address"
        return f"{without_credentials(uri)!r} is no tracking store: use {address}"
    return None


def tracking_uri() -> str:
    """Return where runs go: MLFLOW_TRACKING_URI from the environment, else ``tracking.uri`` of configs/base.yaml.

    A relative sqlite path in base.yaml starts from the project root, one in the environment from the working folder.
    """
    uri, base = os.environ.get("MLFLOW_TRACKING_URI"), Path.cwd()
    if not uri:
        uri, base = load_section(BASE_CONFIG, "tracking", Tracking).uri, PROJECT_ROOT
    elif problem := _problem(uri):
        raise unavailable(uri, problem)
    return f"{FILE}{(base / uri.removeprefix(FILE)).as_posix()}" if uri.startswith(FILE) else uri


@contextmanager
def reachable(uri: str) -> Iterator[None]:
    """Turn what MLflow, the network or the database raises inside into StoreUnavailable; everything else passes.

    What the store's gate says comes out as Refused.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, ModuleNotFoundError) as error:
        if isinstance(error, MlflowException) and (violation := gate_violation(str(error))):
            raise Refused([violation]) from error
        raise unavailable(uri, getattr(error, "message", error)) from error


def connect(*, create: bool = False) -> "MlflowClient":
    """Point MLflow at the tracking store and return a client for it; with *create*, an embedded database is made.

    Waits are bounded: seconds, not MLflow's minutes. Raises StoreEmpty where there is no database to look into.
    """
    uri = _without_login(tracking_uri())
    if uri.startswith(FILE) and not create and not Path(uri.removeprefix(FILE)).exists():
        fix = "Train a run first (nox -s train), or correct tracking.uri in configs/base.yaml or MLFLOW_TRACKING_URI"
        raise unavailable(uri, "there is nothing", fix, StoreEmpty)
    import mlflow

    # MLflow wants to write pip's version down with a model, and an environment made by uv has no pip.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    if not uri.startswith("http"):
        from mlflow.store.db import utils as database

        database.MAX_RETRY_COUNT = _DATABASE_RETRIES
        # An error that it logs on every try is raised in the end.
        logging.getLogger(database.__name__).setLevel(logging.ERROR)
    if create and uri.startswith(FILE):
        _create_once(uri, Path(uri.removeprefix(FILE)))
    with reachable(uri):
        return mlflow.MlflowClient()


def _without_login(uri: str) -> str:
    """Return a server's *uri* without user and password, which MLflow would print; it finds them in its variables."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return uri
    for name, value in (("MLFLOW_TRACKING_USERNAME", parts.username), ("MLFLOW_TRACKING_PASSWORD", parts.password)):
        os.environ.setdefault(name, unquote(value or ""))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def experiment_id(client: "MlflowClient", name: str) -> str:
    """Return the id of the experiment *name*, created if need be.

    The first contact with the store: raises StoreUnavailable within ten seconds.
    """
    from mlflow.exceptions import MlflowException

    uri = client.tracking_uri
    if uri.startswith(FILE):
        _require_writable(uri, Path(uri.removeprefix(FILE)))
    with reachable(uri), impatient():
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return client.create_experiment(name, artifact_location=_artifacts(uri))
            except MlflowException:
                # Another process may have been first.
                experiment = client.get_experiment_by_name(name)
                if experiment is None:
                    raise
    require_at_home(uri, experiment)
    if experiment.lifecycle_stage == "deleted":
        raise unavailable(uri, f"the experiment {name!r} was deleted there; restore it or change experiment_name")
    return experiment.experiment_id


def run_page(uri: str, run: "Run") -> str:
    """Return where a person finds *run*: its page on a server, or the embedded database."""
    shown = without_credentials(uri)
    if not shown.startswith("http"):
        return shown
    return f"{shown.rstrip('/')}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def require_at_home(uri: str, experiment: "Experiment") -> None:
    """Raise StoreUnavailable if the embedded store was moved: MLflow keeps absolute paths, and would split runs."""
    location = experiment.artifact_location
    here = _artifacts(uri)
    if here and location.endswith(f"/{_ARTIFACTS}") and location != here and not _folder(location).exists():
        moved = f"it was moved, and its artifacts are looked for in {_folder(location)}"
        fix = "Move the project back there, or rename the file to begin anew"
        if inside_image(PROJECT_ROOT):
            fix = f"Mount {_folder(location).parent} at the same place in the container"
        raise unavailable(uri, moved, fix=fix)


def _folder(location: str) -> Path:
    return Path(url2pathname(urlsplit(location).path))


def _artifacts(uri: str) -> str | None:
    """An embedded database keeps its artifacts beside it; a server decides for itself."""
    return (Path(uri.removeprefix(FILE)).parent / _ARTIFACTS).as_uri() if uri.startswith(FILE) else None


def _require_writable(uri: str, database: Path) -> None:
    """Raise StoreUnavailable now, and not when the run's first file is written and the run has begun."""
    for place in (database.parent, database, database.parent / _ARTIFACTS):
        if place.exists() and not os.access(place, os.W_OK):
            who = f"user {os.getuid()}" if hasattr(os, "getuid") else "this user"
            raise unavailable(uri, f"{place} cannot be written by {who}")


def _create_once(uri: str, database: Path) -> None:
    # Processes that create one sqlite file together break it, and one that is killed half-way leaves half a schema:
    # so one at a time, under another name, and renamed when it is whole.
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        if database.exists():
            return
        _require_writable(uri, database)
        with FileLock(f"{database}.lock", timeout=60):
            if database.exists():
                return
            unfinished = database.with_name(f"{database.name}.unfinished")
            unfinished.unlink(missing_ok=True)
            with reachable(uri):
                store = SqlAlchemyStore(f"{FILE}{unfinished.as_posix()}", _artifacts(uri))
                store.engine.dispose()
            os.replace(unfinished, database)
    except OSError as error:
        raise unavailable(uri, error) from error


@contextmanager
def impatient() -> Iterator[None]:
    """Inside, a request to a server that is away is given up within ten seconds."""
    before = {name: os.environ.get(name) for name in _IMPATIENCE}
    os.environ.update(_IMPATIENCE)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
