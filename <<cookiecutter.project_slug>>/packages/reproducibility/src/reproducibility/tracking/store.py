"""The tracking store: where runs are recorded, how long to wait for it, and what to say when it is unreachable."""

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

from ..config.loader import load_section
from ..config.values import Section
from ..delivery import offline
from ..errors import Refused, StoreEmpty, StoreUnavailable, gate_violation, in_plain_words, refuse
from ..project import BASE_CONFIG, PROJECT_ROOT, team_policy
from ..provenance.code import inside_image
from ..secrets import recordable, without_credentials
from ..tags import EXPERIMENT_TAGS
from .patience import short_waits
from .schema import schema_problem

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

_SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")
FILE = "sqlite:///"
_ARTIFACTS = "mlartifacts"
# Set: runs begin without their server. `repro train --offline` sets it.
OFFLINE_VARIABLE = "REPRODUCIBILITY_OFFLINE"
_DATABASE_RETRIES = 5  # MLflow waits less than three seconds in all between five tries, but a hundred between its ten


def unavailable(
    uri: str, reason: object, fix: str | None = None, kind: type[StoreUnavailable] = StoreUnavailable
) -> StoreUnavailable:
    """Return the error for the store at *uri*: *reason* in plain words, and what to do.

    fix: what to do, as a sentence without its full stop; by default what usually helps with such a store.
    """
    shown = without_credentials(uri)
    if schema := schema_problem(shown, str(reason)):
        why, fix = schema
    else:
        why = in_plain_words(recordable(str(reason).strip().partition("\n")[0]))
        fix = fix or _usual_fix(uri, why)
    return kind(f"the tracking store {shown} cannot be used: {why.rstrip('.')}. {fix}.")


def _usual_fix(uri: str, why: str) -> str:
    if "error code 401" in why or "error code 403" in why:
        return "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to your login on that server"
    if uri.startswith("http"):
        return "Start the server, or correct tracking.uri in configs/base.yaml or MLFLOW_TRACKING_URI"
    if not uri.startswith(FILE):
        return "Check tracking.uri in configs/base.yaml and MLFLOW_TRACKING_URI, and that the lock has its driver"
    if inside_image(PROJECT_ROOT):
        fix = 'Mount a folder, run as its owner with --user "$(id -u):$(id -g)", and name a database in it'
        return f"{fix} with -e MLFLOW_TRACKING_URI=sqlite:////…"
    return "Check tracking.uri in configs/base.yaml and MLFLOW_TRACKING_URI, and that the folder can be written"


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
    """Return where runs are recorded: MLFLOW_TRACKING_URI, else ``tracking.uri`` of configs/base.yaml.

    A relative sqlite path in base.yaml starts at the project root, one in the environment at the working folder.
    """
    uri, base = os.environ.get("MLFLOW_TRACKING_URI"), Path()
    if not uri:
        uri, base = load_section(BASE_CONFIG, "tracking", Tracking).uri, PROJECT_ROOT
    elif problem := _problem(uri):
        raise unavailable(uri, problem)
    return f"{FILE}{(base / uri.removeprefix(FILE)).absolute().as_posix()}" if uri.startswith(FILE) else uri


@contextmanager
def reachable(uri: str) -> Iterator[None]:
    """Turn errors of MLflow, the network and the database into StoreUnavailable, and refusals by the gate into Refused.

    Other errors pass.
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
    """Point MLflow at the tracking store and return a client for it; with *create*, make an embedded database.

    Waits are bounded: seconds, not MLflow's minutes. Raises StoreEmpty if there is no database and none may be made.
    """
    uri = without_login(tracking_uri())
    if uri.startswith(FILE) and not create and not Path(uri.removeprefix(FILE)).exists():
        fix = "Train a run first (nox -s train), or correct tracking.uri in configs/base.yaml or MLFLOW_TRACKING_URI"
        raise unavailable(uri, "there is nothing", fix, StoreEmpty)
    import mlflow

    # MLflow warns if it cannot record pip's version with a model, and an environment made by uv has no pip.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    if not uri.startswith("http"):
        from mlflow.store.db import utils as database

        database.MAX_RETRY_COUNT = _DATABASE_RETRIES
        # MLflow logs the error of each attempt, and raises the last one.
        logging.getLogger(database.__name__).setLevel(logging.ERROR)
    if create and uri.startswith(FILE):
        _create_once(uri, Path(uri.removeprefix(FILE)))
    with reachable(uri):
        return mlflow.MlflowClient()


def without_login(uri: str) -> str:
    """Return a server's *uri* without user and password, which MLflow would print, and put both into its variables."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return uri
    for name, value in (("MLFLOW_TRACKING_USERNAME", parts.username), ("MLFLOW_TRACKING_PASSWORD", parts.password)):
        os.environ.setdefault(name, unquote(value or ""))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def experiment_id(client: "MlflowClient", name: str) -> str:
    """Return the id of the experiment *name*; create the experiment if there is none.

    This is the first request to the store. Raises StoreUnavailable within ten seconds.
    """
    from mlflow.exceptions import MlflowException

    uri = client.tracking_uri
    if is_offline():
        return _offline_experiment(uri, name)
    if uri.startswith(FILE):
        _require_writable(uri, Path(uri.removeprefix(FILE)))
    with reachable(uri), short_waits():
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return client.create_experiment(name, artifacts_beside(uri), EXPERIMENT_TAGS)
            except MlflowException:
                # Another process may have created it meanwhile.
                experiment = client.get_experiment_by_name(name)
                if experiment is None:
                    raise
    require_not_moved(uri, experiment)
    if experiment.lifecycle_stage == "deleted":
        raise unavailable(uri, f"the experiment {name!r} was deleted there; restore it or change experiment_name")
    return experiment.experiment_id


def is_offline() -> bool:
    """Whether runs begin without their server now."""
    return bool(os.environ.get(OFFLINE_VARIABLE))


def _offline_experiment(uri: str, name: str) -> str:
    """Return what stands for the id of the experiment until `repro sync` asks the server."""
    if not uri.startswith("http"):
        problem = f"the runs are kept in {without_credentials(uri)}, which needs no server"
        refuse("--offline", problem, f"leave it out, and unset {OFFLINE_VARIABLE}")
    if (policy := team_policy()).offline_runs == "refuse" and policy.enforce == "refuse":
        problem = "the server would refuse the run later: the policy says `offline_runs: refuse`"
        refuse("--offline", problem, "start the run while the server answers")
    return offline.experiment_id(name)


def require_own_registry(uri: str) -> None:
    """Raise Refused if MLflow's registry of models is not that of the tracking store at *uri*, whose runs it needs."""
    import mlflow

    registry = mlflow.get_registry_uri()
    if _absolute(registry) != _absolute(uri):
        problem = (
            f"it names the registry {without_credentials(registry)}, and the runs are in {without_credentials(uri)}"
        )
        refuse("MLFLOW_REGISTRY_URI", problem, "unset it: the models belong beside the runs that trained them")


def _absolute(uri: str) -> str:
    return os.path.abspath(uri.removeprefix(FILE)) if uri.startswith(FILE) else uri.rstrip("/")


def run_page(uri: str, run: "Run") -> str:
    """Return where a person can look at *run*: its page on a server, or the embedded database."""
    shown = without_credentials(uri)
    if not shown.startswith("http"):
        return shown
    return f"{shown.rstrip('/')}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def require_not_moved(uri: str, experiment: "Experiment") -> None:
    """Raise StoreUnavailable if the embedded store was moved.

    MLflow records absolute paths: the files of new runs would lie elsewhere than those of the earlier runs.
    """
    location = experiment.artifact_location
    here = artifacts_beside(uri)
    if here and location.endswith(f"/{_ARTIFACTS}") and location != here and not _folder(location).exists():
        moved = f"it was moved, and its artifacts are looked for in {_folder(location)}"
        fix = "Move the project back there, or rename the file to start a new store"
        if inside_image(PROJECT_ROOT):
            fix = f"Mount {_folder(location).parent} at the same place in the container"
        raise unavailable(uri, moved, fix=fix)


def _folder(location: str) -> Path:
    return Path(url2pathname(urlsplit(location).path))


def artifacts_beside(uri: str) -> str | None:
    """Return where the artifacts of an embedded database lie: beside it. None for a server, which decides itself."""
    return (Path(uri.removeprefix(FILE)).parent / _ARTIFACTS).as_uri() if uri.startswith(FILE) else None


def _require_writable(uri: str, database: Path) -> None:
    """Raise StoreUnavailable before the run begins, and not when its first file is written."""
    for place in (database.parent, database, database.parent / _ARTIFACTS):
        if place.exists() and not os.access(place, os.W_OK):
            user = f"user {os.getuid()}" if hasattr(os, "getuid") else "this user"
            raise unavailable(uri, f"{place} cannot be written by {user}")


def _create_once(uri: str, database: Path) -> None:
    # Two processes that create one sqlite file at the same time break it, and a process that is killed meanwhile leaves
    # half a schema. So one process at a time creates the file, under another name, and renames it when it is complete.
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
                store = SqlAlchemyStore(f"{FILE}{unfinished.as_posix()}", artifacts_beside(uri))
                store.engine.dispose()
            os.replace(unfinished, database)
    except OSError as error:
        raise unavailable(uri, error) from error
