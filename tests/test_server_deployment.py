"""The team's server as it is deployed: the generated compose.yaml brought up unchanged, attacked, saved and restored.

The engine, Compose, PostgreSQL, the S3 store and MLflow are real. Where no registry can be reached, the images that
compose.yaml names are made of this machine's own programs. Where Podman has no systemd to check health, a thread does.
"""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess
from threading import Event, Thread
from typing import NamedTuple
from uuid import uuid4

import pytest
import stand_in
import yaml
from needs import skip_without
from reproducibility.container import stack
from tracking_server import free_port
from workbench import SCRIPTS, Workbench

LIMIT = 600  # seconds for one command, far beyond what any of them takes
NAME = "mlflow.example.com"
ADA, MEMBER, PASSWORD = "Ada Lovelace <ada@example.com>", "ada@example.com", "a difference engine"
STAND_INS = {"postgres": stand_in.build_postgres, "chrislusf/seaweedfs": stand_in.build_seaweedfs}


def program(name: str) -> tuple[str, ...]:
    """Return the words with which a container's Python runs tests/scripts/*name*."""
    return "python", "-c", (SCRIPTS / name).read_text("utf-8")


class Answer(NamedTuple):
    """A server's answer."""

    status: int
    body: str


class Deployment(Workbench):
    """A project whose server runs, or ran. Commands in it find the engine and know no login."""

    def __init__(
        self,
        run_in: Callable[..., CompletedProcess[str]],
        path: Path,
        engine: str,
        env: dict[str, str],
        make_images: Callable[[], None],
    ) -> None:
        super().__init__(run_in, path)
        self.engine = engine
        self.make_images = make_images
        self.env = env
        self.name = env["COMPOSE_PROJECT_NAME"]
        self.url = f"http://127.0.0.1:{env['SERVER_PORT']}"

    def run(self, *argv: str | Path, **options) -> CompletedProcess[str]:
        options = {"timeout": LIMIT} | options
        return super().run(*argv, **(options | {"env": self.env | options.get("env", {})}))

    def done(self, *argv: str | Path, **options) -> str:
        """Run a command that has to succeed; return what it printed."""
        done = self.run(*argv, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *argv: str | Path, **options) -> str:
        """Run a command that has to be refused without a traceback; return its message in one line."""
        done = self.run(*argv, **options)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return " ".join(done.stderr.split())

    def up(self, *argv: str) -> str:
        """Bring the server up with the command *argv*; return what it printed.

        When several processes ask Podman 4 at one moment, it sometimes does not find an image, or a container that it
        has just started. Here it is asked again, as a person would do.
        """
        done = self.run(*argv)
        if done.returncode and Path(self.engine).name == "podman":
            self.make_images()
            return self.done(*argv)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

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

    def login(self) -> dict[str, str]:
        """The variables with which a client reaches the server as a member of the team."""
        login = {"MLFLOW_TRACKING_USERNAME": MEMBER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        return login | {"MLFLOW_TRACKING_URI": self.url}

    def request(
        self, path: str, *, login: tuple[str, str] | None = None, body: object = None, **headers: str
    ) -> Answer:
        """Ask the server over HTTP, with nothing of MLflow in between; a *body* is sent as JSON."""
        asked = urllib.request.Request(f"{self.url}{path}", data=body and json.dumps(body).encode())  # noqa: S310
        asked.add_header("Content-Type", "application/json")
        if login:
            asked.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
        for name, value in headers.items():
            asked.add_header(name, value)
        try:
            with urllib.request.urlopen(asked, timeout=LIMIT) as answer:  # noqa: S310
                return Answer(answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode())

    def admin(self) -> tuple[str, str]:
        return "admin", self.secrets()["SERVER_ADMIN_PASSWORD"]

    def everything(self) -> dict[str, dict]:
        """Every run on the server, as a member's plain MLflow client sees it, which knows nothing of the project."""
        return json.loads(self.done("python", SCRIPTS / "everything.py", env=self.login()))


def compose_program(engine: str) -> list[str]:
    """Return Compose as a user of this machine types it."""
    wanted = ([engine, "compose"], ["docker-compose"], ["podman", "compose"])
    for command in wanted:
        if shutil.which(command[0]):
            if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
                return command
    skip_without("compose")


@pytest.fixture(scope="module")
def socket_env(engine_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables with which Compose finds the engine: none for Docker, a socket for Podman, which is served here."""
    if Path(engine_program).name != "podman" or "DOCKER_HOST" in os.environ:
        yield {}
        return
    if not (shutil.which("iptables") or shutil.which("nft")):
        skip_without("networks")
    address = f"unix://{tmp_path_factory.mktemp('podman')}/podman.sock"
    serving = subprocess.Popen([engine_program, "system", "service", "--time=0", address], stderr=subprocess.DEVNULL)
    yield {"DOCKER_HOST": address}
    serving.terminate()
    serving.wait()


@pytest.fixture(scope="module")
def make_images(
    engine_program: str, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], None]]:
    """A function that provides the images of compose.yaml that this machine lacks.

    An image is pulled. Where that fails, a stand-in is made, and removed after the tests.
    """
    services = yaml.safe_load((project / "compose.yaml").read_text("utf-8"))["services"].values()
    names = [service["image"] for service in services if "build" not in service]
    made = set()

    def make_missing() -> None:
        for image in names:
            if not any(
                subprocess.run([engine_program, *command, image], capture_output=True, check=False).returncode == 0
                for command in (["image", "inspect"], ["pull"])
            ):
                make = next(make for name, make in STAND_INS.items() if f"/{name}:" in image)
                if missing := make(engine_program, image, tmp_path_factory.mktemp("image")):
                    skip_without("images", f"{image}: this machine lacks {missing}")
                made.add(image)

    make_missing()
    yield make_missing
    for image in made:
        subprocess.run([engine_program, "rmi", "--force", image], capture_output=True, check=False)


@pytest.fixture(scope="module")
def recorded(deployment: "Deployment") -> CompletedProcess[str]:
    """A training that a member of the team recorded on this server, whose admin made the login and the experiment."""
    user = {"username": MEMBER, "password": PASSWORD}
    assert deployment.request("/api/2.0/mlflow/users/create", login=deployment.admin(), body=user).status == 200
    roles = deployment.request("/api/3.0/mlflow/roles/list?workspace=default", login=deployment.admin()).body
    member = {"username": MEMBER, "role_id": json.loads(roles)["roles"][0]["id"]}
    assert deployment.request("/api/3.0/mlflow/roles/assign", login=deployment.admin(), body=member).status == 200
    experiment = {"name": "penguin-classifier"}
    made = deployment.request("/api/2.0/mlflow/experiments/create", login=deployment.admin(), body=experiment)
    assert made.status == 200
    return deployment.run("repro", "train", "configs/experiment.yaml", env=deployment.login() | {"AUTHOR": ADA})


@pytest.fixture(scope="module")
def deployment(
    engine_program: str,
    socket_env: dict[str, str],
    make_images: Callable[[], None],
    project: Path,
    run_in: Callable[..., CompletedProcess[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    """A new project whose server was brought up as its README says. The tests use it one after the other."""
    path = Path(copytree(project, tmp_path_factory.mktemp("deployed") / project.name, symlinks=True))
    env = socket_env | {"SERVER_PORT": str(free_port()), "COMPOSE_PROJECT_NAME": f"server-{uuid4().hex[:8]}"}
    env["SERVER_ALLOWED_HOSTS"] = f"localhost:*,127.0.0.1:*,{NAME}"
    deployed = Deployment(run_in, path, engine_program, env, make_images)
    compose_program(engine_program)
    with ExitStack() as after:
        after.callback(deployed.run, *compose_program(engine_program), "down", "--volumes", "--timeout=1")
        over = Event()
        after.callback(over.set)
        if Path(engine_program).name == "podman":
            Thread(target=check_health, args=(deployed, over), daemon=True).start()
        (path / "said.txt").write_text(deployed.up("nox", "-s", "server"), "utf-8")
        yield deployed


def check_health(deployed: Deployment, over: Event) -> None:
    """Check the health of new containers until they are healthy, as systemd's timers do for Podman elsewhere."""
    waiting = (deployed.engine, "ps", "--quiet", "--filter=health=starting", "--filter=health=unhealthy")
    while not over.wait(1):
        for container in deployed.run(*waiting).stdout.split():
            deployed.run(deployed.engine, "healthcheck", "run", container)


def test_one_command_brings_it_up_and_says_what_to_do_next(deployment: Deployment) -> None:
    said = (deployment.path / "said.txt").read_text("utf-8")
    assert f"The server runs at {deployment.url}" in said
    assert f"{deployment.url}/signup" in said and "SERVER_ADMIN_PASSWORD" in said
    secrets = deployment.secrets()
    assert len(secrets) == 4 and len(set(secrets.values())) == 4
    assert all(len(secret) >= 32 for secret in secrets.values())
    assert not any(secret in said for secret in secrets.values())


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


def test_the_image_holds_the_machinery_and_the_configs_and_no_code_of_the_user(deployment: Deployment) -> None:
    image = deployment.inspected("server")["Image"]
    files = deployment.done(deployment.engine, "run", "--rm", "--network=none", "--entrypoint=ls", image, "-A", "/app")
    assert set(files.split()) == {"packages", "configs", "requirements-server.txt"}
    package = "penguin_classifier"
    search = ("--entrypoint=find", image, "/app", "/usr/local/lib", "-name", f"{package}*", "-o", "-name", "train.py")
    found = deployment.done(deployment.engine, "run", "--rm", "--network=none", *search)
    assert [line for line in found.splitlines() if package in line or line.startswith("/app")] == []
    ask = ("--entrypoint=python", image, "-c", "import reproducibility; print(reproducibility.PROJECT_ROOT)")
    assert deployment.done(deployment.engine, "run", "--rm", "--network=none", *ask).strip() == "/app"


@pytest.mark.parametrize("service", ["server", "database", "storage"])
def test_a_container_may_do_no_more_than_it_has_to(service: str, deployment: Deployment) -> None:
    status = deployment.compose("exec", "-T", service, "cat", "/proc/1/status")
    process = dict(re.findall(r"^(\w+):\t(.*)$", status, re.MULTILINE))
    assert (int(process["CapEff"], 16), int(process["CapBnd"], 16), process["NoNewPrivs"]) == (0, 0, "1")
    assert service == "storage" or process["Uid"].split()[0] != "0"
    found = deployment.inspected(service)
    assert found["HostConfig"]["ReadonlyRootfs"] == (service != "database")
    assert found["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    published = [each for every in (found["NetworkSettings"]["Ports"] or {}).values() for each in every or []]
    here = [{"HostIp": "127.0.0.1", "HostPort": deployment.env["SERVER_PORT"]}]
    assert published == (here if service == "server" else [])


def test_a_member_of_the_team_records_from_outside_and_gets_every_file_back(
    deployment: Deployment, recorded: CompletedProcess[str]
) -> None:
    assert re.search(r"\n(\d+) of \1 checks pass", recorded.stdout), recorded.stdout + recorded.stderr
    assert f"Recorded in {deployment.url}/#/experiments/" in recorded.stdout
    assert "WARNING" not in recorded.stderr
    (run,) = deployment.everything().values()
    assert run["status"] == "FINISHED" and len(run["metrics"]) >= 6 and len(run["params"]) >= 8
    assert {"reproducibility/manifest.json", "confusion_matrix.png"} <= run["files"].keys()
    # MLflow's own way would be by the store's address, which nobody can reach here.
    info = json.loads(deployment.request("/api/3.0/mlflow/server-info").body)
    assert (info["multipart_downloads_enabled"], info["multipart_uploads_enabled"]) == (False, False)


def test_nobody_without_a_login_nor_under_another_name_of_the_server_is_answered(deployment: Deployment) -> None:
    runs, admin = "/api/2.0/mlflow/experiments/search?max_results=1", deployment.admin()
    assert deployment.request(runs, login=admin).status == 200
    assert deployment.request(runs).status == 401
    assert deployment.request(runs, login=("admin", "wrong-wrong-wrong")).status == 401
    assert deployment.request(runs, login=("admin", "")).status == 401
    assert deployment.request(runs, login=admin, Host="attacker.example").status == 403
    assert deployment.request("/api/2.0/mlflow-artifacts/artifacts/1/x").status == 401


def test_its_pages_work_under_the_name_that_it_was_given_and_nobody_elses(deployment: Deployment) -> None:
    def searched(host: str, page: str) -> int:
        body = {"experiment_ids": ["0"]}
        search = "/ajax-api/2.0/mlflow/runs/search"
        return deployment.request(search, login=deployment.admin(), body=body, Host=host, Origin=page).status

    assert searched(NAME, f"http://{NAME}") == 200
    assert searched(NAME, f"https://{NAME}") == 200  # behind a proxy
    assert searched("localhost:5000", "http://localhost:5000") == 200
    assert searched(NAME, "https://attacker.example") == 403


def test_the_database_and_the_store_answer_nobody_but_the_server(deployment: Deployment) -> None:
    addresses = {
        service: next(
            network["IPAddress"]
            for name, network in deployment.inspected(service)["NetworkSettings"]["Networks"].items()
            if name.endswith("_inside")
        )
        for service in ("database", "storage")
    }
    doors = [f"{addresses['database']}:5432", f"{addresses['storage']}:8333"]
    named = ["database:5432", "storage:8333"]
    image = deployment.inspected("server")["Image"]
    knock = ("--entrypoint=python", image, *program("knock.py")[1:], *doors, *named)
    outside = f"--network={deployment.name}_outside"
    assert deployment.done(deployment.engine, "run", "--rm", outside, *knock).split() == []
    from_server = ("exec", "-T", "server", *program("knock.py"))
    assert deployment.compose(*from_server, *doors, *named).split() == [*doors, *named]
    # The other ports of the store, which check no signatures, are closed even there.
    assert deployment.compose(*from_server, *(f"storage:{port}" for port in (9333, 8888, 8080, 18888))).split() == []


def test_the_store_refuses_a_wrong_secret_and_the_database_a_wrong_password(deployment: Deployment) -> None:
    answers = deployment.compose("exec", "-T", "server", *program("ask_the_store.py")).split()
    assert answers == ["200", "SignatureDoesNotMatch", "AccessDenied"]
    connect = "import psycopg; psycopg.connect('postgresql://mlflow@database/mlflow')"
    deployment.compose("exec", "-T", "server", "python", "-c", connect)
    wrong = ("exec", "-T", "--env=PGPASSWORD=wrong", "server", "python", "-c", connect)
    said = deployment.run(*compose_program(deployment.engine), *wrong)
    assert said.returncode == 1 and "password authentication failed" in said.stdout + said.stderr


def test_what_was_recorded_survives_a_restart_and_the_loss_of_everything_but_a_backup(
    deployment: Deployment, recorded: CompletedProcess[str], tmp_path: Path
) -> None:
    before, old = deployment.everything(), deployment.secrets()
    assert before
    deployment.done("repro", "server", "down")
    assert deployment.containers() == []
    assert "it does not run" in deployment.refused("repro", "server", "backup", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    deployment.up("repro", "server", "up")
    assert deployment.secrets() == old

    kept = tmp_path / "backups" / "monday"
    deployment.done("repro", "server", "backup", kept)
    assert sorted(path.name for path in kept.iterdir()) == ["database.dump", "files.tar", "manifest.json"]
    assert [path.name for path in kept.parent.iterdir()] == ["monday"]
    assert "is there already" in deployment.refused("repro", "server", "backup", kept)

    # The machine is lost, with its volumes and secrets.
    deployment.compose("down", "--volumes", "--timeout=1")
    (deployment.path / ".env").unlink()
    deployment.done("repro", "server")
    assert not set(old.values()) & set(deployment.secrets().values())
    admin, mine = deployment.admin(), "begun on the new server"
    assert deployment.request("/api/2.0/mlflow/experiments/create", login=admin, body={"name": mine}).status == 200

    files = ("exec", "-T", "server", *program("files_in_the_store.py"))
    assert deployment.compose(*files, "1/new").split() == ["1/new"]

    # What a client uploads while a restore goes on stays.
    others = ("exec", "-T", "server", *program("delete_what_was_listed.py"))
    assert deployment.compose(*others).split() == ["1/again", "1/later"]

    broken = Path(copytree(kept, tmp_path / "broken"))
    with (broken / "files.tar").open("r+b") as file:
        file.seek(600)
        file.write(b"?")
    assert "files.tar in" in deployment.refused("repro", "server", "restore", broken, "--replace")
    assert "holds something already" in deployment.refused("repro", "server", "restore", kept)
    find = "/api/2.0/mlflow/experiments/search?max_results=9"
    assert mine in deployment.request(find, login=admin).body

    # A restore that is killed leaves the server as it was, and the next one is whole.
    environment = dict(pair.split("=", 1) for pair in deployment.done("env", "-0").split("\0") if pair)
    repro = shutil.which("repro", path=environment["PATH"])
    command = [repro, "server", "restore", kept, "--replace"]
    killed = subprocess.Popen(command, env=environment, cwd=deployment.path, start_new_session=True)
    databases = ("exec", "-T", "database", "psql", "--username=mlflow", "--command=SELECT datname FROM pg_database")
    while "mlflow_restored" not in deployment.compose(*databases):
        assert killed.poll() is None
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert mine in deployment.request(find, login=admin).body

    deployment.done("repro", "server", "restore", kept, "--replace")
    # The members' logins came back with everything else; the admin's is the new server's.
    assert deployment.everything() == before
    with tarfile.open(kept / "files.tar") as archive:
        assert deployment.compose(*files).split() == sorted(archive.getnames())
    known = deployment.request(find, login=admin)
    assert known.status == 200 and mine not in known.body and "penguin-classifier" in known.body


def test_without_compose_there_is_one_clear_line_and_no_env(project: Path, run_in, tmp_path: Path) -> None:
    (tmp_path / "git").symlink_to(shutil.which("git"))
    repro = run_in(project, sys.executable, "-c", "import shutil; print(shutil.which('repro'))").stdout.strip()
    done = run_in(project, repro, "server", env={"PATH": str(tmp_path)})
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "neither docker compose, docker-compose nor podman compose answers" in done.stderr
    assert "nox -s server -- --embedded" in " ".join(done.stderr.split())
    assert not (project / ".env").exists()


@pytest.mark.parametrize("manifest", [None, "no JSON", "[]", "{}", '{"files": []}', '{"files": "x"}', '{"files": 1}'])
def test_what_is_no_backup_is_refused(project: Path, run_in, tmp_path: Path, manifest: str | None) -> None:
    (tmp_path / "database.dump").write_text("x", "utf-8")
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest, "utf-8")
    done = run_in(project, "repro", "server", "restore", tmp_path, "--replace")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert ("is not what was saved" if manifest == '{"files": []}' else "is no backup") in done.stderr


def test_an_env_is_kept_as_it_is_and_what_it_lacks_is_named(fresh_project: Path, run_in, tmp_path: Path) -> None:
    for action in (["down"], ["backup", tmp_path / "new"]):
        done = run_in(fresh_project, "repro", "server", *action)
        assert done.returncode == 2 and ".env: it is not there, so no server was started from here" in done.stderr
    mine = b"SERVER_PORT=5001\nSERVER_ADDRESS=10.0.0.1\n# SERVER_ADMIN_PASSWORD=no\nTOKEN=1\n"
    (fresh_project / ".env").write_bytes(mine)
    done = run_in(fresh_project, "repro", "server", "down")
    assert done.returncode == 2
    assert "SERVER_ALLOWED_HOSTS, SERVER_ADMIN_USERNAME, SERVER_ADMIN_PASSWORD, SERVER_DATABASE_PASSWORD" in done.stderr
    assert "SERVER_PORT" not in done.stderr
    assert (fresh_project / ".env").read_bytes() == mine


@pytest.mark.parametrize(
    ("address", "host"),
    [("10.0.0.1  # ours", "10.0.0.1"), ('"0.0.0.0" # all', "127.0.0.1"), ("::1", "[::1]"), ("'[::]'", "[::1]")],
)
def test_an_env_is_read_as_compose_reads_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, host: str
) -> None:
    secrets = "".join(f"SERVER_{name}=a#b\n" for name in ("DATABASE_PASSWORD", "STORAGE_PASSWORD", "SESSION_KEY"))
    admin = "SERVER_ALLOWED_HOSTS=x\nSERVER_ADMIN_USERNAME=it's # me\nSERVER_ADMIN_PASSWORD=c\n"
    (tmp_path / ".env").write_text(f"SERVER_PORT=5001\nSERVER_ADDRESS={address}\n{admin}{secrets}", "utf-8")
    monkeypatch.setattr(stack, "SETTINGS", tmp_path / ".env")
    for name in [name for name in os.environ if name.startswith("SERVER_")]:
        monkeypatch.delenv(name)
    settings = stack.read_settings()
    assert (settings.url, settings.admin) == (f"http://{host}:5001", "it's")
    monkeypatch.setenv("SERVER_PORT", "5002")  # as in Compose, the environment wins
    assert stack.read_settings().url == f"http://{host}:5002"


def test_without_containers_the_same_command_serves_what_is_embedded(
    fresh_project: Path, run_in, python: Path, clean_env: dict[str, str], tmp_path: Path
) -> None:
    # The session makes no environment: `uv` does nothing here, and `repro` is that of the shared environment.
    (tmp_path / "uv").write_text("#!/bin/sh\n")
    (tmp_path / "uv").chmod(0o755)
    env = {"PATH": os.pathsep.join([str(tmp_path), str(python.parent), clean_env["PATH"]])}
    session = ("nox", "--force-venv-backend=none", "-s", "server", "--", "--embedded", "--port", "70000")
    done = run_in(fresh_project, *session, env=env, timeout=LIMIT)
    assert done.returncode != 0
    assert "127.0.0.1:70000: nothing can be served there" in done.stdout + done.stderr


def test_the_compose_file_is_valid_pinned_and_wants_its_secrets(project: Path, run_in, tmp_path: Path) -> None:
    described = yaml.safe_load((project / "compose.yaml").read_text("utf-8"))
    for service in described["services"].values():
        assert "build" in service or re.search(r":\d+\.\d+$", service["image"])
    done = subprocess.run(
        [
            Path(sys.executable).with_name("check-jsonschema"),
            "--builtin-schema=vendor.compose-spec",
            project / "compose.yaml",
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    program = compose_program(shutil.which("docker") or "docker")
    without = run_in(project, *program, "config", "-q")
    assert without.returncode != 0 and re.search(r"SERVER_\w+ is missing a value: see .env", without.stderr)
    names = ("ADMIN_PASSWORD", "SESSION_KEY", "DATABASE_PASSWORD", "STORAGE_PASSWORD", "ALLOWED_HOSTS")
    done = run_in(project, *program, "config", "-q", env={f"SERVER_{name}": "x" for name in names})
    assert done.returncode == 0, done.stderr
