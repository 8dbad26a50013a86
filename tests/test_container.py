"""Training in a container: the generated Dockerfile is built and run as it is, with the engine that this machine has.

Nothing is mocked: from a commit comes the same run as on the host, or a refusal.
"""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess
from threading import Thread
from uuid import uuid4

import pytest
from workbench import Workbench

ADA = "Ada Lovelace <ada@example.com>"
CONFIG = ("--config", "configs/experiment.yaml")
COMMIT_LABEL = "org.opencontainers.image.revision"
# A user without any right on this machine.
NOBODY = 12345
OPEN_SESAME = "correct-horse-battery"
LIMIT = 600  # seconds for one command, far beyond what any of them takes


@dataclass(frozen=True)
class Engine:
    """Docker or Podman, as a person types it."""

    program: str
    env: dict[str, str]

    def __call__(self, *arguments: str | Path, check: bool = True) -> CompletedProcess[str]:
        command = [self.program, *map(str, arguments)]
        done = subprocess.run(command, env=self.env, check=False, capture_output=True, text=True, timeout=LIMIT)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def run(self, image: str, *arguments: str | Path, options: tuple[str | Path, ...] = ()) -> CompletedProcess[str]:
        """Run a container of *image* without a network; the test checks its exit status."""
        return self("run", "--rm", "--network=none", *options, image, *arguments, check=False)

    def labels(self, image: str) -> dict[str, str]:
        return json.loads(self("image", "inspect", "--format={{json .Config.Labels}}", image).stdout)


@pytest.fixture(scope="session")
def engine(engine_program: str, clean_env: dict[str, str]) -> Engine:
    """The engine that a user of this machine has."""
    return Engine(engine_program, clean_env)


@pytest.fixture(scope="session")
def workbench(
    engine: Engine,
    once: Callable[[str, Callable[[Path], None]], Path],
    project: Path,
    run_in: Callable[..., CompletedProcess[str]],
) -> Workbench:
    """A project with a run and an image of its commit, which no test changes. Its policy is the strictest."""

    def make(folder: Path) -> None:
        made = Workbench(run_in, Path(copytree(project, folder / project.name)))
        made.edit("configs/base.yaml", "uncommitted_config: snapshot", "uncommitted_config: refuse")
        made.edit("configs/experiment.yaml", "n_estimators: 200", "n_estimators: 5")
        made.git("remote", "add", "origin", "https://ada:secret@example.com/org/penguins.git")
        made.commit()
        on_host = made.run("repro", "train", "configs/experiment.yaml", env={"PYTHONHASHSEED": "0"})
        assert on_host.returncode == 0, on_host.stdout + on_host.stderr
        built = made.run("repro", "image", timeout=LIMIT)
        assert built.returncode == 0, built.stdout + built.stderr

    (path,) = once("workbench", make).iterdir()
    return Workbench(run_in, path)


@pytest.fixture(scope="session")
def image(workbench: Workbench) -> str:
    """The name of the image of the workbench's commit."""
    return f"penguin-classifier:{workbench.git('rev-parse', 'HEAD')[:12]}"


@pytest.fixture
def own_workbench(
    workbench: Workbench, engine: Engine, run_in: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> Iterator[Workbench]:
    """A copy of the workbench to change at will; the images of its own commits are removed afterwards."""
    own_workbench = Workbench(run_in, Path(copytree(workbench.path, tmp_path / workbench.path.name, symlinks=True)))
    own_workbench.store.unlink(missing_ok=True)

    def images() -> set[str]:
        listing = ("images", "--format={{.Repository}}:{{.Tag}}")
        # Podman 4 fails when an image is removed meanwhile: then it is asked once more.
        return set((engine(*listing, check=False).stdout or engine(*listing).stdout).split())

    before = images()
    yield own_workbench
    for name in images() - before:
        if own_workbench.path.name in name:
            engine("rmi", name, check=False)


def mounted(source: Path, target: str | Path, *options: str) -> str:
    return "--mount=" + ",".join(["type=bind", f"source={source}", f"target={target}", *options])


def test_the_same_run_on_the_host_and_in_a_container(workbench: Workbench, engine: Engine, image: str) -> None:
    in_container = workbench.run("python", "scripts/train.py", *CONFIG, "--container", timeout=LIMIT)
    assert in_container.returncode == 0, in_container.stdout + in_container.stderr
    assert "STEP" not in in_container.stdout  # it was built already
    assert re.search(r"\n(\d+) of \1 checks pass", in_container.stdout)
    assert "WARNING" not in in_container.stderr
    first, second = sorted(workbench.every_run(), key=lambda run: run.tags["image"], reverse=True)
    assert (first.status, second.status) == ("FINISHED", "FINISHED")
    assert first.metrics == second.metrics and len(first.metrics) >= 6
    assert first.params == second.params
    same = ("data_version", "config_digest", "lock_digest", "author")
    for tag in (*same, "git_commit", "git_branch", "git_remote", "git_dirty"):
        assert first.tags[tag] == second.tags[tag], tag
    assert first.tags["git_remote"] == "https://example.com/org/penguins.git"

    engines_id = engine("image", "inspect", "--format={{.Id}}", image).stdout.strip().removeprefix("sha256:")
    assert first.tags["image"] == f"sha256:{engines_id}"
    assert second.tags["image"] == "none"
    manifest = json.loads((first.evidence / "manifest.json").read_text("utf-8"))
    assert manifest["environment"]["image"] == first.tags["image"]
    assert manifest["environment"]["drift"] == []
    assert manifest["entry_point"] == "scripts/train.py"


def test_the_image_says_where_it_comes_from_and_holds_no_more_than_it_needs(
    workbench: Workbench, engine: Engine, image: str
) -> None:
    labels = engine.labels(image)
    assert labels[COMMIT_LABEL] == workbench.git("rev-parse", "HEAD")
    assert labels["org.opencontainers.image.source"] == "https://example.com/org/penguins.git"
    assert (labels["git.branch"], labels["git.dirty"]) == ("main", "false")
    assert labels["lock.digest"].startswith("blake3:")

    look = "id -u; command -v git gcc; find /app -writable; find /app -type f"
    seen = engine.run(image, "-c", look, options=("--entrypoint=sh",)).stdout.splitlines()
    assert seen[0] == "65532"
    tops = ("README.md", "configs", "data", "packages", "pyproject.toml", "requirements", "scripts", "src", "templates")
    committed = [name for name in workbench.git("ls-files").splitlines() if name.startswith(tops)]
    assert sorted(seen[1:]) == sorted(f"/app/{name}" for name in [*committed, ".image-base.json", ".image.json"])


def test_the_container_of_the_lecture_with_any_user_and_forged_variables(
    workbench: Workbench, engine: Engine, image: str, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    store.mkdir()
    os.chown(store, NOBODY, NOBODY) if os.getuid() == 0 else None
    user = NOBODY if os.getuid() == 0 else os.getuid()
    # No author and no data: the image has both.
    forged = (
        f"--env=GIT_COMMIT={'f' * 40}",
        "--env=GIT_BRANCH=forged",
        "--env=GIT_REMOTE=forged",
        "--env=GIT_DIRTY=true",
    )
    options = (
        *("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", f"--user={user}:{user}", *forged, mounted(store, store)),
        f"--env=MLFLOW_TRACKING_URI=sqlite:///{store}/mlflow.db",
    )
    done = engine.run(image, *CONFIG, options=options)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = workbench.runs(store / "mlflow.db").values()
    assert run.status == "FINISHED"
    assert run.tags["git_commit"] == workbench.git("rev-parse", "HEAD")
    assert (run.tags["git_branch"], run.tags["git_dirty"]) == ("main", "false")
    assert run.tags["image"].startswith("built:blake3:")
    on_host = next(run for run in workbench.every_run() if run.tags["image"] == "none")
    assert (run.tags["author"], run.tags["data_version"]) == (on_host.tags["author"], on_host.tags["data_version"])
    assert "who built the image, counts as the author" in " ".join(done.stderr.split())
    assert json.loads((run.evidence / "manifest.json").read_text("utf-8"))["author_is"] == "the builder of the image"


def refused(done: CompletedProcess[str]) -> str:
    """Assert that a command was refused without a traceback; return its message in one line."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_without_a_place_for_its_runs_a_container_says_how_to_give_one(engine: Engine, image: str) -> None:
    said = refused(engine.run(image, *CONFIG))
    assert "--mount type=bind,source=/runs,target=/runs -e MLFLOW_TRACKING_URI=sqlite:////runs/mlflow.db" in said


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("/app/src/penguin_classifier/model.py", "src/penguin_classifier/model.py"),
        ("/app/src/penguin_classifier/smuggled.py", "src/penguin_classifier/smuggled.py"),
        ("/app/configs", "configs/base.yaml, configs/ci.yaml, configs/experiment.yaml and 2 more"),
    ],
)
def test_other_code_than_the_images_is_refused(
    target: str, named: str, workbench: Workbench, engine: Engine, image: str, tmp_path: Path
) -> None:
    model = tmp_path / "model.py"
    model.write_bytes((workbench.path / "src/penguin_classifier/model.py").read_bytes() + b"\n# better\n")
    configs = Path(copytree(workbench.path / "configs", tmp_path / "configs"))
    for config in configs.iterdir():
        config.write_text(config.read_text("utf-8") + "\n# tuned\n", "utf-8")
    data = mounted(workbench.path / "data", "/app/data", "readonly")
    over = mounted(configs if target == "/app/configs" else model, target, "readonly")
    said = refused(engine.run(image, *CONFIG, options=(data, over, f"--env=AUTHOR={ADA}")))
    assert f"the code in this container is not what the image was built from: {named}. To fix it" in said


@pytest.mark.parametrize("unwritable", ["the folder", "the database", "the files of the runs"])
def test_a_store_that_the_user_of_the_container_cannot_write_is_one_line_before_training(
    unwritable: str, workbench: Workbench, engine: Engine, image: str, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    (store / "mlartifacts").mkdir(parents=True)
    shutil.copyfile(workbench.store, store / "mlflow.db")
    # Everyone may write everything, but for one thing.
    places = {"the folder": store, "the database": store / "mlflow.db", "the files of the runs": store / "mlartifacts"}
    for name, place in places.items():
        place.chmod(0o555 if name == unwritable else 0o777)
    options = (
        *(f"--env=AUTHOR={ADA}", mounted(workbench.path / "data", "/app/data", "readonly"), mounted(store, "/runs")),
        *("--env=MLFLOW_TRACKING_URI=sqlite:////runs/mlflow.db", f"--user={NOBODY}:{NOBODY}"),
    )
    said = refused(engine.run(image, *CONFIG, options=options))
    assert (
        f"{places[unwritable].name if unwritable != 'the folder' else 'runs'} cannot be written by user 12345" in said
    )
    assert '--user "$(id -u):$(id -g)"' in said


def test_a_store_mounted_at_another_place_would_lose_the_files_of_its_runs(
    workbench: Workbench, engine: Engine, image: str, tmp_path: Path
) -> None:
    shutil.copyfile(workbench.store, tmp_path / "mlflow.db")
    options = (
        *(f"--env=AUTHOR={ADA}", mounted(workbench.path / "data", "/app/data", "readonly"), mounted(tmp_path, "/runs")),
        *("--env=MLFLOW_TRACKING_URI=sqlite:////runs/mlflow.db", f"--user={os.getuid()}:{os.getgid()}"),
    )
    said = refused(engine.run(image, *CONFIG, options=options))
    assert f"its artifacts are looked for in {workbench.path}/mlartifacts" in said
    assert f"Mount {workbench.path} at the same place in the container" in said


def test_an_image_built_by_hand_holds_no_secrets_and_trains_nothing(own_workbench: Workbench, engine: Engine) -> None:
    own_workbench.write(".env", "PASSWORD=1")
    own_workbench.write("configs/.env", "PASSWORD=1")
    own_workbench.write("src/penguin_classifier/key.pem", "PRIVATE")
    own_workbench.write("src/penguin_classifier/__pycache__/old.pyc", "old")
    own_workbench.write("mlflow.db", "runs")
    name = f"penguin-classifier:by-hand-{uuid4().hex[:8]}"
    engine("build", f"--tag={name}", own_workbench.path)
    found = engine.run(name, "/app", "-not", "-type", "d", options=("--entrypoint=find",)).stdout
    assert "/app/configs/base.yaml" in found
    for kept_out in (".env", ".pem", ".pyc", ".git/", "mlflow.db", "penguins.csv", "noxfile.py"):
        assert kept_out not in found

    data = mounted(own_workbench.path / "data", "/app/data", "readonly")
    said = refused(engine.run(name, *CONFIG, options=(data, f"--env=AUTHOR={ADA}", f"--env=GIT_COMMIT={'a' * 40}")))
    assert said.startswith("Error: git_commit: this image was built without saying from which commit")
    assert "nox -s image" in said and "nox -s train -- --container" in said


def test_an_image_is_of_its_commit_although_the_code_did_not_change(own_workbench: Workbench, engine: Engine) -> None:
    commit = own_workbench.commit()  # an empty one: to the engine's cache nothing has changed
    done = own_workbench.run("repro", "image", timeout=LIMIT)
    name = f"penguin-classifier:{commit[:12]}"
    assert f"{name} is ready" in done.stdout, done.stderr
    record = json.loads(engine.run(name, "/app/.image.json", options=("--entrypoint=cat",)).stdout)
    assert record["commit"] == commit
    again = own_workbench.run("repro", "image")
    assert again.stdout.strip() == done.stdout.strip().splitlines()[-1]  # built once

    base = "docker.io/library/python:3.11-slim"
    if engine("image", "inspect", base, check=False).returncode:  # some engines build from it and do not keep it
        engine("pull", base)
    engine("tag", base, "localhost/penguin-classifier-gpu:1")
    on_gpus = own_workbench.run("repro", "image", "--base", "localhost/penguin-classifier-gpu:1", timeout=LIMIT)
    assert "FROM localhost/penguin-classifier-gpu:1" in on_gpus.stdout + on_gpus.stderr
    assert f"{name}-" in on_gpus.stdout.splitlines()[-1]  # a name of its own


def test_uncommitted_changes_are_refused_or_go_with_the_image_and_the_run(
    own_workbench: Workbench, tmp_path: Path
) -> None:
    own_workbench.edit("configs/base.yaml", "uncommitted_config: refuse", "uncommitted_config: snapshot")
    own_workbench.edit("configs/experiment.yaml", "n_estimators: 5", "n_estimators: 7")
    own_workbench.write("src/penguin_classifier/idea.py", '"""An untracked idea."""\n')
    for command in (["repro", "image"], ["repro", "train", "configs/experiment.yaml", "--container"]):
        said = refused(own_workbench.run(*command))
        assert "the work tree differs from the commit" in said and "--snapshot" in said
    assert own_workbench.runs() == {}

    command = ["repro", "train", "configs/experiment.yaml", "--container", "--snapshot", "--set", "model.max_depth=2"]
    done = own_workbench.run(*command, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = own_workbench.runs().values()
    assert (run.status, run.tags["git_dirty"]) == ("FINISHED", "true")
    assert (run.params["model.n_estimators"], run.params["model.max_depth"]) == ("7", "2")
    replayed = tmp_path / "replayed"
    own_workbench.git("clone", "--quiet", str(own_workbench.path), str(replayed))
    own_workbench.git("-C", str(replayed), "apply", str(run.evidence / "uncommitted.patch"))
    for name in ("configs/base.yaml", "configs/experiment.yaml", "src/penguin_classifier/idea.py"):
        assert (replayed / name).read_bytes() == (own_workbench.path / name).read_bytes()


def test_a_stopped_container_ends_its_run_failed(
    workbench: Workbench, engine: Engine, image: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    name = f"stopped-{uuid4().hex[:8]}"
    command = [
        *(engine.program, "run", "--rm", f"--name={name}", "--network=none", f"--env=AUTHOR={ADA}"),
        *(f"--user={os.getuid()}:{os.getgid()}", mounted(tmp_path, "/runs")),
        *(
            "--env=MLFLOW_TRACKING_URI=sqlite:////runs/mlflow.db",
            mounted(workbench.path / "data", "/app/data", "readonly"),
        ),
        *(image, *CONFIG, "--set=model.n_estimators=1000000"),  # until tomorrow
    ]
    running = subprocess.Popen(command, env=engine.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + LIMIT
        while not any(tmp_path.rglob("reproducibility/requirements.txt")):
            assert running.poll() is None, running.stderr.read()
            assert time.monotonic() < until, "the run has recorded no evidence yet"
            time.sleep(0.2)
        engine("stop", "--time=30", name)
    finally:
        engine("rm", "--force", name, check=False)
        _, said = running.communicate(timeout=LIMIT)
    assert running.returncode == 143
    assert "ended FAILED: terminated by SIGTERM" in said
    (run,) = workbench.runs(tmp_path / "mlflow.db").values()
    assert (run.status, run.tags["failure"]) == ("FAILED", "terminated by SIGTERM")


def test_data_elsewhere_and_a_server_on_this_machine_are_reached(
    workbench: Workbench, engine: Engine, image: str, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "data, of others"
    copytree(workbench.path / "data", elsewhere)
    asked: list[str] = []

    class Away(BaseHTTPRequestHandler):
        """A server that accepts no login, and remembers each."""

        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization", ""))
            self.send_error(401)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Away) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        env = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{server.server_port}"}
        env |= {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "secret"}
        options = ("--container", f"--set=data.path={elsewhere}")
        done = workbench.run("repro", "train", "configs/experiment.yaml", *options, env=env, timeout=LIMIT)
        server.shutdown()
    assert f"the tracking store {env['MLFLOW_TRACKING_URI']} cannot be used" in refused(done)
    assert asked and set(asked) == {"Basic YWRhOnNlY3JldA=="}
    assert "secret" not in done.stdout + done.stderr


def test_what_cannot_be_in_a_container_is_refused_before_anything_is_built(
    workbench: Workbench, image: str, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "mine.yaml"
    elsewhere.write_bytes((workbench.path / "configs" / "experiment.yaml").read_bytes())

    def said(*options: str, **env: str) -> str:
        return refused(workbench.run("repro", "train", "configs/experiment.yaml", "--container", *options, env=env))

    assert "lies outside the project" in said(f"--config={elsewhere}")
    assert "data_version: data/none.csv does not exist" in said("--set=data.path=data/none.csv")
    assert "where the image has the code" in said(MLFLOW_TRACKING_URI="sqlite:////app/mlflow.db")
    assert "AUTHOR is set but empty" in said(AUTHOR="")


def test_a_run_of_a_container_is_reproduced_in_its_image_and_without(
    own_workbench: Workbench, engine: Engine, image: str
) -> None:
    """The image is of a commit of its own, because the test removes the image."""
    own_workbench.write("notes.txt", "another commit\n")
    commit = own_workbench.commit()
    trained = own_workbench.run("repro", "train", "configs/experiment.yaml", "--container", timeout=LIMIT)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    (run,) = own_workbench.runs().values()

    def reproduced(*options: str) -> tuple[dict, dict[str, str]]:
        open_run = {"MLFLOW_RUN_ID": "0" * 32}  # of the shell in which the command is started
        done = own_workbench.run("repro", "reproduce", run.id, "--json", *options, env=open_run, timeout=LIMIT)
        assert done.returncode == 0, done.stdout + done.stderr
        said = json.loads(done.stdout)
        return said, next(each for each in own_workbench.every_run() if each.id == said["reproduction"]).tags

    said, tags = reproduced("--container")
    assert (said["verdict"], said["input_differences"]) == ("identical", [])
    assert (tags["image"], tags["reproduces"], tags["git_commit"]) == (run.tags["image"], run.id, commit)
    said, tags = reproduced()
    assert (said["verdict"], tags["image"]) == ("identical", "none")
    assert {"kind": "image", "name": "image", "a": run.tags["image"], "b": "none"} in said["input_differences"]
    on_host = said["reproduction"]

    engine("rmi", "--force", f"penguin-classifier:{commit[:12]}")
    gone = refused(own_workbench.run("repro", "reproduce", run.id, "--container"))
    assert f"the run's image {run.tags['image'][:19]}... is not on this machine" in gone
    assert f"`git checkout {commit[:12]}` and `nox -s image`" in gone
    assert "made in no container" in refused(own_workbench.run("repro", "reproduce", on_host, "--container"))


class _PrivateIndex(BaseHTTPRequestHandler):
    """A package index that asks for a login and has one package."""

    login = "Basic " + base64.b64encode(f"ada:{OPEN_SESAME}".encode()).decode()
    wheel = "left_pad-1.3-py3-none-any.whl"

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        known = self.path.startswith("/simple/left-pad/")
        status = 401 if self.headers.get("Authorization") != self.login else 200 if known else 404
        content = self.package() if name == self.wheel else f'<a href="{self.wheel}">{self.wheel}</a>'.encode()
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="packages"')
        self.send_header("Content-Type", "application/octet-stream" if name == self.wheel else "text/html")
        self.end_headers()
        if status == 200:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...

    @classmethod
    def package(cls) -> bytes:
        about = "left_pad-1.3.dist-info"
        files = {
            "left_pad.py": "PAD = 3\n",
            f"{about}/METADATA": "Metadata-Version: 2.1\nName: left-pad\nVersion: 1.3\n",
            f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{about}/RECORD": "left_pad.py,,\n",
        }
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w") as archive:
            for name, text in files.items():
                archive.writestr(zipfile.ZipInfo(name), text)
        return written.getvalue()


@pytest.fixture
def private_index() -> Iterator[dict[str, str]]:
    """The variables with which uv and an image's build reach an index that asks for a login."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _PrivateIndex)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}/simple"
    yield {"UV_INDEX": f"ours={address}", "UV_INDEX_OURS_USERNAME": "ada", "UV_INDEX_OURS_PASSWORD": OPEN_SESAME}
    server.shutdown()
    server.server_close()


def test_packages_come_from_a_private_index_and_are_kept_in_a_folder_without_its_password(
    own_workbench: Workbench, engine: Engine, private_index: dict[str, str], tmp_path: Path
) -> None:
    # An image that has all packages but one: the first stage of the workbench's own image.
    base = "localhost/penguin-classifier-base"
    engine("build", "--target=packages", f"--tag={base}", own_workbench.path)
    own_workbench.edit("pyproject.toml", "dependencies = [", 'dependencies = ["left-pad", ')
    locked = own_workbench.run("nox", "-s", "lock", env=private_index | {"PYTHONPATH": None})
    assert locked.returncode == 0, locked.stdout + locked.stderr
    lock = (own_workbench.path / "requirements.txt").read_text("utf-8")
    assert "left-pad==1.3" in lock and "127.0.0.1" not in lock
    own_workbench.commit()

    folder = tmp_path / "packages"
    build = ["repro", "image", f"--base={base}", f"--packages={folder}"]
    built = own_workbench.run(*build, env=private_index)
    assert built.returncode == 0, built.stdout + built.stderr
    own_image = re.search(r"^(\S+) is ready", built.stdout, re.MULTILINE)[1]
    seen = engine.run(own_image, "-c", "import left_pad; print(left_pad.PAD)", options=("--entrypoint=python",))
    assert seen.stdout == "3\n", seen.stderr
    (copy,) = folder.iterdir()
    told = locked.stdout + locked.stderr + built.stdout + built.stderr
    told += engine("history", "--no-trunc", own_image).stdout + engine("image", "inspect", own_image).stdout
    assert OPEN_SESAME not in told
    assert OPEN_SESAME.encode() not in copy.read_bytes()

    # Another machine, which has only the folder: what lies there is used, and nothing is asked of the index.
    name = f"localhost/penguin-classifier-packages:{copy.stem}"
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "Dockerfile").write_text(f"FROM {name}\nLABEL kept=yes\n", "utf-8")
    engine("build", f"--tag={name}", recipe)
    copy.unlink()
    engine("save", f"--output={copy}", name)
    for each in (own_image, name):
        engine("rmi", "--force", each)
    again = own_workbench.run(*build)
    assert again.returncode == 0, again.stdout + again.stderr
    assert engine.labels(own_image)["kept"] == "yes"


def test_without_an_engine_there_is_one_clear_line(project: Path, run_in, tmp_path: Path) -> None:
    git = shutil.which("git")
    (tmp_path / "git").symlink_to(git)
    repro = Path(run_in(project, sys.executable, "-c", "import shutil; print(shutil.which('repro'))").stdout.strip())
    env = {"PATH": str(tmp_path), "CONTAINER_ENGINE": None}
    for command in ([repro, "image"], [repro, "train", "configs/experiment.yaml", "--container"]):
        assert "docker or podman is needed, and neither answers" in refused(run_in(project, *command, env=env))
    env["CONTAINER_ENGINE"] = "no-such-engine"
    assert "CONTAINER_ENGINE names 'no-such-engine', which does not answer" in refused(
        run_in(project, repro, "image", env=env)
    )


def test_the_dockerfile_is_clean_under_hadolint(project: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint.exe" if os.name == "nt" else "hadolint")
    done = subprocess.run([hadolint, project / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
