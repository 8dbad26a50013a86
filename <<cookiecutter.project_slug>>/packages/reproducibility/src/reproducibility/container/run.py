"""A container: a training run in the project's image, with the mounts, the user and the variables that it needs."""

import csv
import io
import os
import posixpath
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from pydantic import ConfigDict

from ..config.loader import Config, load
from ..display import say
from ..errors import Refused, Violation, refuse
from ..project import PROJECT_ROOT
from ..provenance.gather import author, entry_point
from ..reproduce.process import Process
from ..tracking.recorded import RecordedRun
from ..tracking.store import FILE, tracking_uri, unavailable
from .engine import Engine, find_engine
from .image import build

_APP = "/app"  # the Dockerfile's WORKDIR
_CONFIG = "/reproduction/config.yaml"  # of a run that is made again; beside the code, which must stay as it was built
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Nothing can be written but what is mounted, and there is nothing that a training run has to be allowed beyond that.
# label=disable: where SELinux runs, a container may otherwise not read the files of the user who starts it.
_CONFINED = (
    *("--rm", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"),
    *("--security-opt=no-new-privileges", "--security-opt=label=disable"),
)


class _AnyConfig(Config):
    """A config whose knobs are checked where it is used, in the container."""

    model_config = ConfigDict(extra="allow")


def train(config: Path, overrides: Sequence[str], *, as_json: bool, snapshot: bool, base: str | None) -> NoReturn:
    """Run the script of this process with *config* and *overrides* in the image of this commit.

    The image is built if need be; snapshot, base: see `image.build`. Ends with the status of the container. Raises
    Refused for what would keep the run from starting and can be found out without the image.
    """
    found = find_engine()
    uri = tracking_uri()
    variables = _variables(uri)
    script = [_script(), "--config", _in_image(config), *(f"--set={change}" for change in overrides)]
    script += ["--json"] * as_json
    settings = [*_settings(found, uri, [_data(config, overrides)], variables), "--entrypoint=python"]
    if all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        settings += ["--interactive", "--tty"]
    name, image_id = build(found, snapshot=snapshot, base=base)
    say(f"starting {name} ...")
    found.become("run", *settings, image_id, *script, environment=variables | {"CONTAINER_IMAGE": image_id})


def reproduction_process(
    recorded: RecordedRun, project: Path, config: Path, values: Mapping[str, Any], variables: Mapping[str, str]
) -> Process:
    """Return how *recorded* is run again in its own image, on its data in *project* and the file *config* of *values*.

    Raises Refused when the run was made in no container, and when its image is not on this machine any more.
    """
    image, commit = recorded.manifest["environment"]["image"], recorded.manifest["tags"]["git_commit"]
    if not image.startswith("sha256:"):
        problem = (
            "the run was made in no container" if image == "none" else f"nobody knows the image {image[:30]} by name"
        )
        raise Refused([Violation("--container", problem, "leave --container out: the lock has the same packages")])
    found = find_engine()
    if found.answer("image", "inspect", "--format", "{{.Id}}", image) is None:
        problem = f"the run's image {image[:19]}... is not on this machine"
        fix = f"pull it from where it was pushed to, or leave --container out; `git checkout {commit[:12]}` and "
        fix += "`nox -s image` build one of the same commit, which is another image"
        raise Refused([Violation("--container", problem, fix)])
    place = project / values["data"]["path"]
    mounts = [
        _mount(place.resolve(), posixpath.normpath(posixpath.join(_APP, values["data"]["path"])), "readonly"),
        _mount(config, _CONFIG, "readonly"),
    ]
    told = _mlflow_variables() | dict(variables)
    settings = _settings(found, tracking_uri(), mounts, told)
    script = recorded.manifest["entry_point"]
    command = [found.path, "run", *settings, "--entrypoint=python", image, script, "--config", _CONFIG]
    return Process(command, project, told | {"CONTAINER_IMAGE": image})


def _settings(found: Engine, uri: str, mounts: Sequence[str], variables: Iterable[str]) -> list[str]:
    """Return the options of every container: confined, with the store *uri* and the *mounts*, told the *variables*."""
    return [
        *(*_CONFINED, *_user(found), *_network(uri)),
        *(f"--mount={mount}" for mount in (*mounts, *_store(uri))),
        # By name: what a value says is nobody's who lists the processes.
        *(f"--env={name}" for name in (*variables, "CONTAINER_IMAGE")),
    ]


def _script() -> str:
    if (script := entry_point()) is None:
        refuse("--container", "this process was started from no file of the project", "start a script in scripts/")
    return script


def _in_image(config: Path) -> str:
    path = config.resolve()
    if not path.is_relative_to(PROJECT_ROOT):
        fix = "put it into configs/ and commit it, or try values with --set"
        raise Refused([Violation("--config", f"{config} lies outside the project, so it is in no image", fix)])
    return path.relative_to(PROJECT_ROOT).as_posix()


def _data(config: Path, overrides: Sequence[str]) -> str:
    """The data, at the same place from the project's root as out here; an absolute path stays as it is."""
    values: dict[str, Any] = load(config, _AnyConfig, overrides).model_dump()
    data = values.get("data")
    path = data.get("path") if isinstance(data, dict) else None
    if not isinstance(path, str) or not path:
        raise Refused([Violation("data.path", "the config does not say where the data is", "add it to the config")])
    place = PROJECT_ROOT / path
    if not place.exists():
        fix = "put the data there, or correct the data path in the config"
        raise Refused([Violation("data_version", f"{path} does not exist", fix)])
    return _mount(place, posixpath.normpath(posixpath.join(_APP, path)), "readonly")


def _store(uri: str) -> Iterator[str]:
    """The folder of an embedded database, at the same place as out here: a run's files are recorded by their path."""
    if uri.startswith(FILE):
        folder = Path(uri.removeprefix(FILE)).parent
        if Path(_APP).is_relative_to(folder) or folder.is_relative_to(_APP):
            problem = f"the database lies in {folder}, where the image has the code"
            raise Refused([Violation("tracking.uri", problem, "move it, or set MLFLOW_TRACKING_URI to another one")])
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unavailable(uri, error) from error
        yield _mount(folder, folder.as_posix())


def _mount(place: Path, target: str, *options: str) -> str:
    """Spell one mount; quoted like CSV, which the engines read it as, because a path may have a comma."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(["type=bind", f"source={place}", f"target={target}", *options])
    return text.getvalue()


def _network(uri: str) -> list[str]:
    """None for an embedded database, this machine's own for a server on it, else the engine's usual one."""
    if uri.startswith(FILE):
        return ["--network=none"]
    return ["--network=host"] if urlsplit(uri).hostname in _LOOPBACK else []


def _user(found: Engine) -> list[str]:
    """Whoever calls, so that what the run writes is theirs. Windows has no such ids, and engines there need none."""
    if os.name == "nt":
        return []
    return [f"--user={os.getuid()}:{os.getgid()}", *(["--userns=keep-id"] if found.is_rootless_podman else [])]


def _variables(uri: str) -> dict[str, str]:
    """Return what MLflow is told by variables out here, passwords among it, and who runs."""
    return _mlflow_variables() | {"MLFLOW_TRACKING_URI": uri, "AUTHOR": author()}


def _mlflow_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
