"""A training run in a container: the mounts, the user, the network and the variables that it gets."""

import csv
import io
import os
import posixpath
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn
from urllib.parse import urlsplit

from pydantic import ConfigDict

from ..config.loader import Config, load
from ..delivery.journal import JOURNAL_VARIABLE, root
from ..display import say
from ..errors import refuse
from ..project import PROJECT_ROOT
from ..provenance.data import data_path
from ..provenance.data_place import require_place
from ..provenance.gather import author
from ..provenance.start import entry_point
from ..reproduce.environment import child_variables
from ..reproduce.process import Process, limited, restarted, started_in
from ..tracking.recorded import RecordedRun
from ..tracking.store import FILE, is_offline, tracking_uri, unavailable
from .engine import Program, find_engine
from .image import build

_APP = "/app"  # the Dockerfile's WORKDIR
_CONFIG = "/reproduction/config.yaml"  # of a reproduction; outside the code, which must stay as it was built
_JOURNALS = "/journal"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# A training run can write to mounted folders and /tmp only, and needs no other right. label=disable: with SELinux a
# container could not read the files of the user who starts it.
_CONFINED = (
    *("--rm", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"),
    *("--security-opt=no-new-privileges", "--security-opt=label=disable"),
)


class _AnyConfig(Config):
    """A config that is not checked here: the experiment's own model checks it in the container."""

    model_config = ConfigDict(extra="allow")


def train(config: Path, overrides: Sequence[str], *, as_json: bool, snapshot: bool, base: str | None) -> NoReturn:
    """Run the script of this process with *config* and *overrides* in the image of this commit.

    The image is built if there is none; snapshot, base: see `image.build`. The process ends with the status of the
    container. Raises Refused before anything is built for every problem that can be found without the image.
    """
    engine = find_engine()
    uri = tracking_uri()
    variables = _variables(uri)
    script = [_script(), "--config", _in_image(config), *(f"--set={change}" for change in overrides)]
    script += ["--offline"] * is_offline() + ["--json"] * as_json
    settings = [*_settings(engine, uri, [_data(config, overrides)], variables), "--entrypoint=python"]
    if all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        settings += ["--interactive", "--tty"]
    name, image_id = build(engine, snapshot=snapshot, base=base)
    say(f"starting {name} ...")
    engine.become("run", *settings, image_id, *script, environment=variables | {"CONTAINER_IMAGE": image_id})


def reproduction_process(
    recorded: RecordedRun, project: Path, config: Path, values: Mapping[str, Any], variables: Mapping[str, str | None]
) -> Process:
    """Return the process that reproduces *recorded* in the image that it was made in.

    project: the folder with the run's data. config: the file with the run's resolved *values*. Raises Refused when the
    run was made in no container, and when its image is not on this machine any more.
    """
    image, commit = recorded.manifest["environment"]["image"], recorded.manifest["tags"]["git_commit"]
    if not image.startswith("sha256:"):
        unnamed = f"no engine knows an image by the name {image[:30]}"
        problem = "the run was made in no container" if image == "none" else unnamed
        refuse("--container", problem, "leave --container out: the lock has the same packages")
    engine = find_engine()
    if engine.answer("image", "inspect", "--format", "{{.Id}}", image) is None:
        problem = f"the run's image {image[:19]}... is not on this machine"
        fix = f"pull it from where it was pushed to, or leave --container out; `git checkout {commit[:12]}` and "
        fix += "`nox -s image` build one of the same commit, which is another image"
        refuse("--container", problem, fix)
    place = project / values["data"]["path"]
    mounts = [
        _mount(place.resolve(), posixpath.normpath(posixpath.join(_APP, values["data"]["path"])), "readonly"),
        _mount(config, _CONFIG, "readonly"),
    ]
    # None takes a variable of this machine away, and a container has none of them.
    variables = _mlflow_variables(child_variables()) | {
        name: value for name, value in variables.items() if value is not None
    }
    settings = _settings(engine, tracking_uri(), mounts, variables)
    arguments = limited(recorded, *restarted(recorded, PurePosixPath(_APP), _CONFIG))
    settings.append(f"--workdir={started_in(recorded, PurePosixPath(_APP))}")
    command = [*engine.command, "run", *settings, "--entrypoint=python", image, *arguments]
    return Process(command, project, variables | {"CONTAINER_IMAGE": image}, recorded.manifest["entry_point"])


def _settings(engine: Program, uri: str, mounts: Sequence[str], variables: Iterable[str]) -> list[str]:
    """Return the options of every container: its confinement, the store *uri*, the *mounts* and the *variables*."""
    return [
        *(*_CONFINED, *_user(engine), *_network(uri)),
        *(f"--mount={mount}" for mount in (*mounts, *_store(uri), *_journals(uri))),
        # By name: a value would be visible to everybody who lists the processes.
        *(f"--env={name}" for name in (*variables, "CONTAINER_IMAGE")),
        *([f"--env={JOURNAL_VARIABLE}={_JOURNALS}"] if uri.startswith("http") else []),
    ]


def _script() -> str:
    if (script := entry_point()) is None:
        refuse("--container", "this process was started from no file of the project", "start a script in scripts/")
    return script


def _in_image(config: Path) -> str:
    path = config.resolve()
    if not path.is_relative_to(PROJECT_ROOT):
        fix = "put it into configs/ and commit it, or try values with --set"
        refuse("--config", f"{config} lies outside the project, so it is in no image", fix)
    return path.relative_to(PROJECT_ROOT).as_posix()


def _data(config: Path, overrides: Sequence[str]) -> str:
    """Return the mount of the data: at the same path from the project's root as on the host; an absolute path stays."""
    values: dict[str, Any] = load(config, _AnyConfig, overrides).model_dump()
    path = data_path(values)
    place = PROJECT_ROOT / path
    require_place(path, place)
    return _mount(place, posixpath.normpath(posixpath.join(_APP, path)), "readonly")


def _store(uri: str) -> Iterator[str]:
    """Yield the mount of an embedded database's folder, at its path on the host: runs record their files by path."""
    if uri.startswith(FILE):
        folder = Path(uri.removeprefix(FILE)).parent
        if Path(_APP).is_relative_to(folder) or folder.is_relative_to(_APP):
            problem = f"the database lies in {folder}, where the image has the code"
            refuse("tracking.uri", problem, "move it, or set MLFLOW_TRACKING_URI to another one")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unavailable(uri, error) from error
        yield _mount(folder, folder.as_posix())


def _journals(uri: str) -> Iterator[str]:
    """Yield the mount of the host's journals: what the server lacks when the container ends is shipped from there."""
    if uri.startswith("http"):
        try:
            root().mkdir(parents=True, exist_ok=True)
        except OSError as error:
            refuse(
                JOURNAL_VARIABLE, f"the journals cannot be kept in {root()}: {error.strerror}", "name another folder"
            )
        yield _mount(root(), _JOURNALS)


def _mount(place: Path, target: str, *options: str) -> str:
    """Return one mount as text. Engines read it as CSV, so a path with a comma is quoted."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(["type=bind", f"source={place}", f"target={target}", *options])
    return text.getvalue()


def _network(uri: str) -> list[str]:
    """Return the network: none for an embedded database, the host's for a server on this machine, else the default."""
    if uri.startswith(FILE):
        return ["--network=none"]
    return ["--network=host"] if urlsplit(uri).hostname in _LOOPBACK else []


def _user(engine: Program) -> list[str]:
    """Return the caller's ids, so that files of the run belong to the caller. Windows has no such ids."""
    if os.name == "nt":
        return []
    return [f"--user={os.getuid()}:{os.getgid()}", *(["--userns=keep-id"] if engine.is_rootless_podman else [])]


def _variables(uri: str) -> dict[str, str]:
    """Return MLflow's variables on the host, the store's address and the author."""
    return _mlflow_variables(os.environ) | {"MLFLOW_TRACKING_URI": uri, "AUTHOR": author()}


def _mlflow_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return those of *variables* that are MLflow's, passwords among them."""
    return {name: value for name, value in variables.items() if name.startswith("MLFLOW_")}
