"""The deployment: the team's server with its database and its store of files, brought up and taken down."""

import os
import re
import secrets
import time
from dataclasses import dataclass
from http.client import HTTPException
from urllib.request import urlopen

from ..config.yaml import read_yaml
from ..display import say
from ..errors import Refused, Violation
from ..project import PROJECT_ROOT
from .engine import Compose, find_compose, find_engine

PATH = PROJECT_ROOT / ".env"
_NEW = """\
# The team's server: made by `nox -s server`, read by compose.yaml. Never commit it.

# Where it answers. 127.0.0.1 is this machine only; for others name an address of this machine, or 0.0.0.0 for all,
# and add to the hosts by what name they call it. Passwords cross the network: put a proxy with TLS in front.
SERVER_ADDRESS=127.0.0.1
SERVER_PORT=5000
SERVER_ALLOWED_HOSTS=localhost:*,127.0.0.1:*

# The login of the admin, who gives everyone else theirs. This password counts until it is changed on the server.
SERVER_ADMIN_USERNAME=admin
SERVER_ADMIN_PASSWORD={admin}

# Between the containers, where nobody ever types them. The database keeps the one it was made with.
SERVER_DATABASE_PASSWORD={database}
SERVER_STORAGE_PASSWORD={storage}
SERVER_SESSION_KEY={session}
"""
_KEYS = tuple(line.partition("=")[0] for line in _NEW.splitlines() if "=" in line and not line.startswith("#"))


@dataclass(frozen=True)
class ServerSettings:
    """Where the server answers, and who its admin is."""

    address: str
    port: str
    admin: str

    @property
    def url(self) -> str:
        """The address of the server for this machine."""
        # What listens everywhere is reached here; brackets are for a URL, with or without them in .env.
        address = self.address.strip("[]")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - compared, not listened on
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def create_settings() -> bool:
    """Make .env with random secrets, readable by its owner only; return False if there is one, which stays as it is."""
    names = ("admin", "database", "storage", "session")
    content = _NEW.format_map({name: secrets.token_urlsafe(24) for name in names})
    try:
        descriptor = os.open(PATH, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(content)
    except FileExistsError:
        return False
    except OSError as error:
        fix = "make room, or give yourself permission to write to the project's folder"
        raise Refused([Violation(".env", f"it cannot be written ({error.strerror})", fix)]) from error
    return True


def read_settings() -> ServerSettings:
    """Return what .env says; raises Refused when it is not there, or lacks something that compose.yaml needs."""
    lines = _text().splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    # As compose does it: the environment wins.
    values = {name.strip(): _plain(value.strip()) for name, _, value in pairs}
    values |= {name: os.environ[name] for name in _KEYS if name in os.environ}
    if missing := [name for name in _KEYS if not values.get(name)]:
        fix = "add them, with long random values for the secrets; or move .env away to have it made anew"
        raise Refused([Violation(".env", f"{', '.join(missing)} is not set in it", fix)])
    return ServerSettings(values["SERVER_ADDRESS"], values["SERVER_PORT"], values["SERVER_ADMIN_USERNAME"])


def _plain(value: str) -> str:
    """Return a *value* of .env without its quotes, or without the comment behind it, as compose reads it."""
    if quoted := re.match(r"(['\"])(.*?)\1", value):
        return quoted[2]
    return re.split(r"(?:^|\s)#", value, maxsplit=1)[0].rstrip()


def _text() -> str:
    try:
        return PATH.read_text("utf-8")
    except FileNotFoundError:
        fix = "start one with `nox -s server`, or bring back the .env it was started with"
        raise Refused([Violation(".env", "it is not there, so no server was started from here", fix)]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Refused([Violation(".env", f"it cannot be read ({error})", "make it a text that you may read")]) from None


SERVER, DATABASE = "server", "database"  # services of compose.yaml
_PATIENCE = 180  # seconds until a server that was started has to answer: a new database takes most of them
_STAGE = "tracking-server"


def up() -> ServerSettings:
    """Build the server's image, start it with what it needs, and wait until it answers. Settings are made if need be.

    Data is kept, and what is running already is only replaced where something changed. Raises Refused when that fails.
    """
    compose = find_compose()
    if create_settings():
        say("made .env, with new passwords")
    settings = read_settings()
    # By the engine itself: not every one understands how Compose wants to have an image built.
    find_engine().do("build", f"--target={_STAGE}", f"--tag={_image()}", str(PROJECT_ROOT))
    compose.do("up", "--detach", "--no-build", "--remove-orphans")
    wait(compose, settings)
    return settings


def down() -> None:
    """Stop the server and what it needs; runs, logins and files stay."""
    read_settings()
    find_compose().do("down", "--remove-orphans")


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
    services = read_yaml(PROJECT_ROOT / "compose.yaml")[0].get("services", {})
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
