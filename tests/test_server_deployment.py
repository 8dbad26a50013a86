"""The team's server as it is deployed: the generated compose.yaml brought up unchanged, attacked, saved and restored.

The engine, Compose, PostgreSQL, the S3 store and MLflow are real. Where no registry can be reached, the images that
compose.yaml names are made of this machine's own programs. Where an engine runs no health checks by itself, somebody here does.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess
from threading import Event, Thread
from uuid import uuid4

import pytest
import stand_in
import yaml
from laboratory import Laboratory

# Bringing it up takes longest: one worker does it, for all tests here.
pytestmark = pytest.mark.xdist_group("server")

HANGING = 300
ADA = "Ada Lovelace <ada@example.com>"
STAND_INS = {"postgres": stand_in.build_postgres, "chrislusf/seaweedfs": stand_in.build_seaweedfs}


class Deployment(Laboratory):
    """A project whose server runs, or did; what is started in it finds the engine and knows no login."""

    def __init__(self, run_in: Callable[..., CompletedProcess[str]], path: Path, engine: str, env: dict[str, str]) -> None:
        super().__init__(run_in, path)
        self.engine = engine
        self.env = env
        self.name = env["COMPOSE_PROJECT_NAME"]
        self.url = f"http://127.0.0.1:{env['SERVER_PORT']}"

    def run(self, *argv: str | Path, **options) -> CompletedProcess[str]:
        options = {"timeout": HANGING} | options
        return super().run(*argv, **(options | {"env": self.env | options.get("env", {})}))

    def done(self, *argv: str | Path, **options) -> str:
        """Run a command that has to succeed; return all it said."""
        done = self.run(*argv, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def refused(self, *argv: str | Path, **options) -> str:
        """Run a command that has to be refused without a traceback; return what it said, in one line."""
        done = self.run(*argv, **options)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return " ".join(done.stderr.split())

    def compose(self, *arguments: str) -> str:
        return self.done(*compose_program(self.engine), *arguments)

    def containers(self) -> list[str]:
        project = f"label=com.docker.compose.project={self.name}"
        return self.done(self.engine, "ps", "--quiet", "--filter", project).split()

    def inspected(self, service: str) -> dict:
        (container,) = self.done(
            *(self.engine, "ps", "--quiet", "--filter", f"label=com.docker.compose.project={self.name}"),
            *("--filter", f"label=com.docker.compose.service={service}"),
        ).split()
        return json.loads(self.done(self.engine, "inspect", container))[0]

    def secrets(self) -> dict[str, str]:
        pairs = (line.partition("=") for line in (self.path / ".env").read_text("utf-8").splitlines())
        return {name: value for name, _, value in pairs if re.fullmatch(r"SERVER_\w+_(PASSWORD|KEY)", name)}

    def login(self, user: str = "admin", password: str | None = None) -> dict[str, str]:
        """The variables with which a client reaches the server as *user*."""
        password = password or self.secrets()["SERVER_ADMIN_PASSWORD"]
        return {
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
        }

    def asked(self, code: str, *arguments: str, **env: str) -> dict:
        """Return what a plain MLflow client, which knows nothing of the project, prints as JSON."""
        code = f"import json, sys\nimport mlflow\nclient = mlflow.MlflowClient()\n{code}"
        done = self.run("python", "-c", code, *arguments, env=self.login() | env)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


def compose_program(engine: str) -> list[str]:
    """Return Compose as a user of this machine types it."""
    wanted = ([engine, "compose"], ["docker-compose"], ["podman", "compose"])
    for command in wanted:
        if shutil.which(command[0]):
            if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
                return command
    pytest.skip("no Compose: neither docker compose, docker-compose nor podman compose answers")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def engine() -> str:
    wanted = os.environ.get("CONTAINER_ENGINE")
    for program in filter(None, map(shutil.which, [wanted] if wanted else ["docker", "podman"])):
        if subprocess.run([program, "info"], capture_output=True, check=False).returncode == 0:
            return program
    pytest.skip(f"no container engine: {wanted or 'neither docker nor podman'} answers")


@pytest.fixture(scope="module")
def socket_env(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What Compose has to know to find the engine: nothing for Docker, a socket for Podman, served here if need be."""
    if Path(engine).name != "podman" or "DOCKER_HOST" in os.environ:
        yield {}
        return
    if not (shutil.which("iptables") or shutil.which("nft")):
        pytest.skip("podman cannot make networks here: neither iptables nor nft is installed")
    address = f"unix://{tmp_path_factory.mktemp('podman')}/podman.sock"
    serving = subprocess.Popen([engine, "system", "service", "--time=0", address], stderr=subprocess.DEVNULL)
    yield {"DOCKER_HOST": address}
    serving.terminate()
    serving.wait()


@pytest.fixture(scope="module")
def images(engine: str, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The images that compose.yaml names: pulled; else made here, and taken away again, for they are not what they say."""
    services = yaml.safe_load((project / "compose.yaml").read_text("utf-8"))["services"].values()
    made = []
    for image in [service["image"] for service in services if "build" not in service]:
        if not any(
            subprocess.run([engine, *command, image], capture_output=True, check=False).returncode == 0
            for command in (["image", "inspect"], ["pull"])
        ):
            make = next(make for name, make in STAND_INS.items() if f"/{name}:" in image)
            if missing := make(engine, image, tmp_path_factory.mktemp("image")):
                pytest.skip(f"{image} cannot be pulled, and made neither: this machine lacks {missing}")
            made.append(image)
    yield
    for image in made:
        subprocess.run([engine, "rmi", "--force", image], capture_output=True, check=False)


@pytest.fixture(scope="module")
def deployment(
    engine: str,
    socket_env: dict[str, str],
    images: None,
    project: Path,
    run_in: Callable[..., CompletedProcess[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    """A new project whose server was brought up as its README says. The tests go on with it one after the other."""
    path = Path(copytree(project, tmp_path_factory.mktemp("deployed") / project.name, symlinks=True))
    env = socket_env | {"SERVER_PORT": str(free_port()), "COMPOSE_PROJECT_NAME": f"server-{uuid4().hex[:8]}"}
    deployed = Deployment(run_in, path, engine, env)
    compose_program(engine)
    with ExitStack() as after:
        after.callback(deployed.run, *compose_program(engine), "down", "--volumes", "--timeout=1")
        over = Event()
        after.callback(over.set)
        if Path(engine).name == "podman":
            Thread(target=check_health, args=(deployed, over), daemon=True).start()
        (path / "said.txt").write_text(deployed.done("nox", "-s", "server", timeout=900), "utf-8")
        yield deployed


def check_health(deployed: Deployment, over: Event) -> None:
    """What systemd's timers do for Podman, where there is systemd."""
    while not over.wait(1):
        for container in deployed.run(deployed.engine, "ps", "--quiet").stdout.split():
            deployed.run(deployed.engine, "healthcheck", "run", container)


def test_one_command_brings_it_up_and_says_what_to_do_next(deployment: Deployment) -> None:
    said = (deployment.path / "said.txt").read_text("utf-8")
    assert f"The server runs at {deployment.url}" in said
    assert f"{deployment.url}/signup" in said and "SERVER_ADMIN_PASSWORD" in said
    secrets = deployment.secrets()
    assert len(secrets) == 4 and len(set(secrets.values())) == 4
    assert all(len(secret) >= 32 for secret in secrets.values())
    assert not any(secret in said for secret in secrets.values())

    before = (deployment.path / ".env").read_bytes()
    deployment.done("repro", "server", "up")
    assert (deployment.path / ".env").read_bytes() == before


def test_the_secrets_are_nowhere_but_in_the_file_of_their_owner(deployment: Deployment) -> None:
    if os.name != "nt":
        assert (deployment.path / ".env").stat().st_mode & 0o777 == 0o600
    (deployment.path / "said.txt").unlink(missing_ok=True)
    assert deployment.git("status", "--porcelain", "--untracked-files=all") == ""
    assert ".env" not in deployment.git("ls-files").split()
    image = deployment.inspected("server")["Image"]
    inside = deployment.done(deployment.engine, "run", "--rm", "--network=none", "--entrypoint=env", image)
    history = deployment.done(deployment.engine, "history", "--no-trunc", image)
    find = ("--entrypoint=grep", image, "-rlF", "-e")
    for secret in deployment.secrets().values():
        assert secret not in inside + history
        found = deployment.run(deployment.engine, "run", "--rm", "--network=none", *find, secret, "/app", "/tmp")
        assert found.returncode == 1, found.stdout
    files = deployment.done(deployment.engine, "run", "--rm", "--network=none", "--entrypoint=ls", image, "-A", "/app")
    assert not {".env", "compose.yaml", ".git"} & set(files.split())


@pytest.mark.parametrize("service", ["server", "database", "storage"])
def test_a_container_may_do_no_more_than_it_has_to(service: str, deployment: Deployment) -> None:
    found = deployment.inspected(service)
    host = found["HostConfig"]
    assert any(each.startswith("no-new-privileges") for each in host["SecurityOpt"])
    assert set(found.get("EffectiveCaps") or []) == set()
    assert {"ALL", "CAP_CHOWN"} & set(host["CapDrop"])
    assert host["ReadonlyRootfs"] == (service != "database")
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    published = {port for ports in (found["NetworkSettings"]["Ports"] or {}).values() for port in ports or []}
