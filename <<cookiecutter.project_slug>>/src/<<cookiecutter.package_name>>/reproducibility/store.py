"""The tracking store: where runs are recorded, how long to wait for it, and what to say when it is away."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from filelock import FileLock
from pydantic import field_validator

from .config_file import Section, load_section
from .provenance import BASE_CONFIG, PROJECT_ROOT
from .url import without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")
_FILE = "sqlite:///"
# The client's own defaults wait four minutes for a server that is away; training must not hang that long.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
# For the first contact even less: nobody has computed anything yet, and a person is watching.
_FIRST_CONTACT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "4"}


class StoreUnavailable(click.ClickException):
    """The tracking store cannot be reached or used. A command ends with status 2: nothing is known about the run."""

    exit_code = 2

    def __init__(self, uri: str, reason: object) -> None:
        first_line = str(reason).strip().partition("\n")[0][:300]
        fix = (
            "Start the server, or correct tracking.uri in configs/base.yaml or MLFLOW_TRACKING_URI"
            if uri.startswith("http")
            else "Check tracking.uri in configs/base.yaml and MLFLOW_TRACKING_URI, and that the folder can be written"
        )
        super().__init__(f"the tracking store {without_credentials(uri)} cannot be used: {first_line}. {fix}.")


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
    return f"{_FILE}{(base / uri.removeprefix(_FILE)).as_posix()}" if uri.startswith(_FILE) else uri


@contextmanager
def reachable(uri: str) -> Iterator[None]:
    """Turn what MLflow, the network or the database raises inside into StoreUnavailable; everything else passes."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        raise StoreUnavailable(uri, getattr(error, "message", error)) from error


def connect() -> "MlflowClient":
    """Point MLflow at the tracking store and return a client for it; an embedded database is created if there is none.

    Waits are bounded: seconds, not MLflow's minutes. Values set in the environment win.
    """
    uri = tracking_uri()
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    import mlflow

    # MLflow wants to write pip's version down with a model, and an environment made by uv has no pip.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    if uri.startswith(_FILE):
        _create_once(uri, Path(uri.removeprefix(_FILE)))
    return mlflow.MlflowClient()


def experiment_id(client: "MlflowClient", name: str) -> str:
    """Return the id of the experiment *name*, created if need be.

    The first contact with the store: raises StoreUnavailable within ten seconds.
    """
    from mlflow.exceptions import MlflowException

    uri = client.tracking_uri
    with reachable(uri), _environment(_FIRST_CONTACT):
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return client.create_experiment(name, artifact_location=_artifacts(uri))
            except MlflowException:
                # Another process may have been first.
                experiment = client.get_experiment_by_name(name)
                if experiment is None:
                    raise
    if experiment.lifecycle_stage == "deleted":
        raise StoreUnavailable(uri, f"the experiment {name!r} was deleted there; restore it or change experiment_name")
    return experiment.experiment_id


def page(uri: str, run: "Run") -> str:
    """Return where a person finds *run*: its page on a server, or the embedded database."""
    shown = without_credentials(uri)
    if not shown.startswith("http"):
        return shown
    return f"{shown.rstrip('/')}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def _artifacts(uri: str) -> str | None:
    """An embedded database keeps its artifacts beside it; a server decides for itself."""
    return (Path(uri.removeprefix(_FILE)).parent / "mlartifacts").as_uri() if uri.startswith(_FILE) else None


def _create_once(uri: str, database: Path) -> None:
    # Processes that create one sqlite file together break it, and one that is killed half-way leaves half a schema:
    # so one at a time, under another name, and renamed when it is whole.
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        if database.exists():
            return
        with FileLock(f"{database}.lock", timeout=60):
            if database.exists():
                return
            logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
            unfinished = database.with_name(f"{database.name}.unfinished")
            unfinished.unlink(missing_ok=True)
            with reachable(uri):
                store = SqlAlchemyStore(f"{_FILE}{unfinished.as_posix()}", _artifacts(uri))
                store.engine.dispose()
            os.replace(unfinished, database)
    except OSError as error:
        raise StoreUnavailable(uri, error) from error


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ[name] for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.update(before)
