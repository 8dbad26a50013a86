"""The stack: the team's server with its database and its store of files, started and stopped by Compose."""

import io
import os
import secrets
import time
from dataclasses import dataclass
from http.client import HTTPException
from urllib.request import urlopen

from dotenv import dotenv_values

from ..config.loader import read_yaml
from ..display import say
from ..errors import refuse
from ..project import PROJECT_ROOT
from .engine import Program, find_compose, find_engine

SERVER, DATABASE = "server", "database"  # services of compose.yaml
_STAGE = "tracking-server"  # of the Dockerfile
SETTINGS = PROJECT_ROOT / ".env"
# Seconds in which a server that was started has to answer. A new database takes most of them.
_PATIENCE = 180
_NEW = """\
# The team's server: made by `nox -s server`, read by compose.yaml. Never commit it.

# Where the server answers. 127.0.0.1: for this machine only. For others name an address of this machine, or 0.0.0.0
# for all of them, and add to the hosts the name that others use. Passwords cross the network: put a proxy with TLS
# in front.
SERVER_ADDRESS=127.0.0.1
SERVER_PORT=5000
SERVER_ALLOWED_HOSTS=localhost:*,127.0.0.1:*

# The login of the admin, who creates all other logins. The password is valid until it is changed on the server.
SERVER_ADMIN_USERNAME=admin
SERVER_ADMIN_PASSWORD={admin}

# Passwords between the containers; nobody types them. A database keeps the password that it was made with.
SERVER_DATABASE_PASSWORD={database}
SERVER_STORAGE_PASSWORD={storage}
SERVER_SESSION_KEY={session}
"""
_KEYS = tuple(line.partition("=")[0] for line in _NEW.splitlines() if "=" in line and not line.startswith("#"))


@dataclass(frozen=True)
class ServerSettings:
    """The address of the server, and the name of its admin."""

    address: str
    port: str
    admin: str

    @property
    def url(self) -> str:
        """The server's URL on this machine."""
        # A server on all addresses answers on the local one. An IPv6 address may have its brackets in .env already.
        address = self.address.strip("[]")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - compared, not listened on
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def create_settings() -> bool:
    """Make .env with random secrets, readable by its owner only; return False, and change nothing, if there is one."""
    names = ("admin", "database", "storage", "session")
    content = _NEW.format_map({name: secrets.token_urlsafe(24) for name in names})
    try:
        descriptor = os.open(SETTINGS, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(content)
    except FileExistsError:
        return False
    except OSError as error:
        fix = "make room, or give yourself permission to write to the project's folder"
        refuse(".env", f"it cannot be written ({error.strerror})", fix)
    return True


def read_settings() -> ServerSettings:
    """Return the settings in .env; raises Refused when it is missing, or lacks something that compose.yaml needs."""
    try:
        text = SETTINGS.read_text("utf-8")
    except FileNotFoundError:
        fix = "start one with `nox -s server`, or bring back the .env it was started with"
        refuse(".env", "it is not there, so no server was started from here", fix)
    except (OSError, UnicodeDecodeError) as error:
        refuse(".env", f"it cannot be read ({error})", "make it a text that you may read")
    # As Compose does it: the environment wins.
    values = dotenv_values(stream=io.StringIO(text)) | {name: os.environ[name] for name in _KEYS if name in os.environ}
    if missing := [name for name in _KEYS if not values.get(name)]:
        fix = "add them, with long random values for the secrets; or rename .env, and a new one is made"
        refuse(".env", f"{', '.join(missing)} is not set in it", fix)
    return ServerSettings(values["SERVER_ADDRESS"], values["SERVER_PORT"], values["SERVER_ADMIN_USERNAME"])


def up() -> ServerSettings:
    """Build the server's image, start the stack and wait until the server answers; make .env if there is none.

    Data is kept, and a running container is only replaced if its image or its settings changed. Raises Refused when a
    step fails.
    """
    compose = find_compose()
    if create_settings():
        say("made .env, with new passwords")
    settings = read_settings()
    # By the engine itself: not every engine can build an image for Compose.
    find_engine().do("build", f"--target={_STAGE}", f"--tag={_image()}", str(PROJECT_ROOT))
    compose.do("up", "--detach", "--no-build", "--remove-orphans")
    wait(compose, settings)
    return settings


def down() -> None:
    """Stop the stack; runs, logins and files stay."""
    read_settings()
    find_compose().do("down", "--remove-orphans")


def wait(compose: Program, settings: ServerSettings) -> None:
    """Return when the server answers; after three minutes show its last log lines and raise Refused."""
    say(f"waiting for {settings.url} ...")
    until = time.monotonic() + _PATIENCE
    while not _answers(settings.url):
        if time.monotonic() > until:
            compose.do("logs", "--tail=20", SERVER)
            problem = f"nothing answers at {settings.url} after {_PATIENCE} seconds"
            fix = "see its log above; a database keeps its password, so it needs the .env that it was made with"
            refuse(SERVER, problem, fix)
        time.sleep(0.5)


def _image() -> str:
    """Return the name of the server's image in compose.yaml."""
    services = read_yaml(PROJECT_ROOT / "compose.yaml")[0].get("services", {})
    image = services.get(SERVER, {}).get("image")
    if not isinstance(image, str):
        problem = f"services.{SERVER}.image is missing"
        refuse("compose.yaml", problem, "bring it back; the image is built under that name")
    return image


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310 - an http:// address by construction
            return answer.status == 200
    except (OSError, HTTPException):
        return False
