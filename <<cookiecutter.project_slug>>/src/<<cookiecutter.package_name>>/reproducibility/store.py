"""The tracking store: where runs are recorded, how long to wait for it, and what to say when it is away."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import click
from filelock import FileLock
from pydantic import field_validator

from . import image
from .config_file import Section, load_section
from .failure import recordable
from .judgement import violation_in
from .project import BASE_CONFIG, PROJECT_ROOT
from .url import without_credentials
from .violation import Refused

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

_SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")
FILE = "sqlite:///"
_ARTIFACTS = "mlartifacts"
# Where a person is waiting, less patience still than elsewhere: at the first contact, and when a failed run is ended.
_IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}
_DATABASE_RETRIES = 5  # in MLflow's rhythm under three seconds; its own ten take a hundred


class StoreUnavailable(click.ClickException):
    """The tracking store cannot be reached or used. A command ends with status 2: nothing is known about the run."""

    exit_code = 2

    def __init__(self, uri: str, reason: object, fix: str | None = None) -> None:
        first_line = _in_short(recordable(str(reason).strip().partition("\n")[0]))
        if fix is not None:
            first_line = str(reason)
        elif "error code 401" in first_line or "error code 403" in first_line:
            fix = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to what the server knows you by"
        elif uri.startswith("http"):
            fix = "Start the server, or correct tracking.uri in configs/base.yaml or MLFLOW_TRACKING_URI"
        elif uri.startswith(FILE):
            fix = "Check tracking.uri in configs/base.yaml and MLFLOW_TRACKING_URI, and that the folder can be written"
            if image.inside(PROJECT_ROOT):
                fix = 'Mount a folder, run as its owner with --user "$(id -u):$(id -g)", and name a database in it'
                fix += " with -e MLFLOW_TRACKING_URI=sqlite:////…"
        else:
            fix = "Check tracking.uri in configs/base.yaml and MLFLOW_TRACKING_URI, and that the lock has its driver"
        why = first_line.rstrip(".")
        super().__init__(f"the tracking store {without_credentials(uri)} cannot be used: {why}. {fix}.")


class StoreEmpty(StoreUnavailable):
    """There is no tracking store yet: nobody has recorded anything at that place."""


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
        raise StoreUnavailable(uri, problem)
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
        if isinstance(error, MlflowException) and (violation := violation_in(str(error))):
            raise Refused([violation]) from error
        raise StoreUnavailable(uri, getattr(error, "message", error)) from error


def connect(*, create: bool = False) -> "MlflowClient":
    """Point MLflow at the tracking store and return a client for it; with *create*, an embedded database is made.

    Waits are bounded: seconds, not MLflow's minutes. Raises StoreEmpty where there is no database to look into.
    """
    uri = _without_login(tracking_uri())
    if uri.startswith(FILE) and not create and not Path(uri.removeprefix(FILE)).exists():
        fix = "Train a run first (nox -s train), or correct tracking.uri in configs/base.yaml or MLFLOW_TRACKING_URI"
        raise StoreEmpty(uri, "there is nothing", fix)
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
        raise StoreUnavailable(uri, f"the experiment {name!r} was deleted there; restore it or change experiment_name")
    return experiment.experiment_id


def page(uri: str, run: "Run") -> str:
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
        if image.inside(PROJECT_ROOT):
            fix = f"Mount {_folder(location).parent} at the same place in the container"
        raise StoreUnavailable(uri, moved, fix=fix)


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
            raise StoreUnavailable(uri, f"{place} cannot be written by {who}")


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
        raise StoreUnavailable(uri, error) from error


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
