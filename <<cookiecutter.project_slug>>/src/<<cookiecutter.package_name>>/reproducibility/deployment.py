"""The deployment: the team's server with its database and its store of files, brought up and taken down."""

import time
from http.client import HTTPException
from urllib.request import urlopen

from . import engine, server_settings
from .compose import Compose, find
from .progress import say
from .project import PROJECT_ROOT
from .server_settings import ServerSettings
from .strict_yaml import read
from .violation import Refused, Violation

SERVER, DATABASE = "server", "database"  # services of compose.yaml
_PATIENCE = 180  # seconds until a server that was started has to answer: a new database takes most of them
_STAGE = "tracking-server"


def up() -> ServerSettings:
    """Build the server's image, start it with what it needs, and wait until it answers. Settings are made if need be.

    Data is kept, and what is running already is only replaced where something changed. Raises Refused when that fails.
    """
    compose = find()
    if server_settings.create_once():
        say("made .env, with new passwords")
    settings = server_settings.read()
    # By the engine itself: not every one understands how Compose wants to have an image built.
    engine.find().do("build", f"--target={_STAGE}", f"--tag={_image()}", str(PROJECT_ROOT))
    compose.do("up", "--detach", "--no-build", "--remove-orphans")
    wait(compose, settings)
    return settings


def down() -> None:
    """Stop the server and what it needs; runs, logins and files stay."""
    server_settings.read()
    find().do("down", "--remove-orphans")


def wait(compose: Compose, settings: ServerSettings) -> None:
    """Return when the server answers; raises Refused, with the last it said, if it does not in three minutes."""
    say(f"waiting for {settings.url} ...")
    until = time.monotonic() + _PATIENCE
    while not _answers(settings.url):
        if time.monotonic() > until:
            compose.do("logs", "--tail=20", SERVER)
            problem = f"nothing answers at {settings.url} after {_PATIENCE} seconds"
            fix = "see above what it said last; a database keeps its password: it wants the .env that it was made with"
            raise Refused([Violation(SERVER, problem, fix)])
        time.sleep(0.5)


def _image() -> str:
    """Return what compose.yaml calls the image of the server."""
    services = read(PROJECT_ROOT / "compose.yaml")[0].get("services", {})
    image = services.get(SERVER, {}).get("image")
    if not isinstance(image, str):
        problem = f"services.{SERVER}.image is missing"
        raise Refused([Violation("compose.yaml", problem, "bring it back; the image is built under that name")])
    return image


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310 - an http:// address by construction
            return answer.status == 200
    except (OSError, HTTPException):
        return False
