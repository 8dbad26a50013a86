"""The gate before a real tracking server: what it refuses, whoever asks and however, and what it leaves alone."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess
from urllib.error import HTTPError

import pytest
from tracking_server import TrackingServer
from workbench import RecordedRun, Workbench

GATE = "reproducibility gate: "
# Somebody who has MLflow, and has never heard of the project.
STRANGER = """
import json, os, sys, mlflow
from mlflow import MlflowClient
client = MlflowClient()
said = {}
def attempt(name, step):
    try: step(); said[name] = None
    except Exception as error: said[name] = str(error)

def start():
    with mlflow.start_run(run_name="fluent"): said["reached the body"] = None
DIGEST = "blake3:" + "0" * 64
GOOD = {
    "git_commit": "a" * 40, "git_branch": "main", "git_remote": "none", "git_dirty": "false", "data_version": DIGEST,
    "author": "Eve <eve@example.com>", "config_digest": DIGEST, "lock_digest": DIGEST, "image": "none",
    "manifest_digest": DIGEST,
}
def create(name, **tags):
    return client.create_run("0", run_name=name, tags={**GOOD, **tags})

attempt("fluent", start)
attempt("client", lambda: client.create_run("0", run_name="client"))
attempt("short commit", lambda: create("short commit", git_commit="a" * 12))
attempt("upper commit", lambda: create("upper commit", git_commit="A" * 40))
attempt("md5 data", lambda: create("md5 data", data_version="md5:123"))
attempt("nobody", lambda: create("nobody", author="  "))
attempt("two things", lambda: create("two things", author="", git_commit="HEAD"))
attempt("child of nobody", lambda: create("child of nobody", **{"mlflow.parentRunId": "f" * 32}))
def invented(name, *params):
    run = create(name)
    for key, value in params: client.log_param(run.info.run_id, key, value)
    client.set_terminated(run.info.run_id)
attempt("no params", lambda: invented("no params"))
attempt("no evidence", lambda: invented("no evidence", ("data_version", DIGEST), ("seed", "1")))
def failed(): client.set_terminated(create("failed").info.run_id, "FAILED")
attempt("failed", failed)
print(json.dumps(said))
"""
# Somebody of the team, in the project.
COLLEAGUE = """
import json, mlflow, sys, time
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from reproducibility import log_reproducibility_info, tracked_run
client = MlflowClient()
said, ids = {}, {}
def attempt(name, step):
    try: step(); said[name] = None
    except Exception as error: said[name] = str(error)

VALUES = {"experiment_name": "gate", "seed": 1, "data": {"path": "data/penguins.csv"}}
# Everything that people do with MLflow, in one run.
with tracked_run(VALUES, run_name="good") as run:
    ids["good"] = run.info.run_id
    mlflow.log_metrics({"a": 1.0, "b": 2.0}, step=3)
    mlflow.log_metric("async", 1.0, synchronous=False)
    mlflow.log_params({"learned": "3"}, synchronous=False).wait()
    mlflow.set_tags({"mood": "good"})
    mlflow.log_text("hello", "notes/hello.txt")
    mlflow.flush_async_logging()
    with mlflow.start_run(nested=True, run_name="nested"): mlflow.log_metric("a", 2.0)
    mlflow.sklearn.autolog(log_models=False, silent=True)
    GridSearchCV(LogisticRegression(), {"C": [1.0, 2.0]}, cv=2).fit(np.array([[0.0], [1.0]] * 4), np.array([0, 1] * 4))
    mlflow.sklearn.autolog(disable=True)
    ids["model"] = mlflow.sklearn.log_model(
        LogisticRegression().fit([[0.0], [1.0]], [0, 1]), name="model", pip_requirements=["scikit-learn"]
    ).model_id
with mlflow.start_run(run_name="plain") as run:
    ids["plain"] = run.info.run_id
    log_reproducibility_info({**VALUES, "seed": 2})
    digest = "blake3:" + "0" * 64
    attempt("restated twice", lambda: client.log_batch(
        run.info.run_id, params=[Param("more", "1")], tags=[RunTag("manifest_digest", digest)]))
with mlflow.start_run(run_name="commit restated") as run:
    attempt("commit restated", lambda: client.log_batch(
        run.info.run_id, params=[Param("more", "1")],
        tags=[RunTag("manifest_digest", digest), RunTag("git_commit", "f" * 40)]))
    mlflow.end_run("FAILED")
with tracked_run(VALUES, run_name="running") as run:
    ids["running"] = run.info.run_id
    attempt("same value", lambda: client.set_tag(run.info.run_id, "git_branch", run.data.tags["git_branch"]))
    for tag in ("git_commit", "author", "mlflow.user", "manifest_digest"):
        attempt(f"set {tag}", lambda: client.set_tag(run.info.run_id, tag, "f" * 40))
        attempt(f"batch {tag}", lambda: client.log_batch(run.info.run_id, tags=[RunTag(tag, "f" * 40)]))
        attempt(f"delete {tag}", lambda: client.delete_tag(run.info.run_id, tag))
try:
    with tracked_run(VALUES, run_name="evidence altered") as run:
        ids["altered"] = run.info.run_id
        manifest = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/reproducibility/manifest.json")
        mlflow.log_dict(manifest | {"overrides": ["seed=2"]}, "reproducibility/manifest.json")
except Exception as error:
    said["evidence altered"] = f"{type(error).__name__} {error.exit_code} {error}"
def ended_early(name, end):
    try:
        with tracked_run(VALUES, run_name=name) as run:
            ids[name] = run.info.run_id
            try: end(run.info.run_id)
            except Exception as error: said[name] = str(error)
            if name.startswith("the block"): mlflow.log_metric("late", 1.0, run_id=run.info.run_id)
    except Exception as error: said[name + ", at its end"] = f"{type(error).__name__}: {error}"
ended_early("the block ends itself", lambda run_id: mlflow.end_run())
ended_early("somebody ends it", client.set_terminated)
def without_the_digest(run_id):
    try: client.delete_tag(run_id, "reproducibility.token_digest")
    except Exception: client.set_terminated(run_id)
ended_early("somebody takes the digest away", without_the_digest)
def with_another_word(run_id):
    client.set_tag(run_id, "reproducibility.token", "guessed")
    client.set_terminated(run_id)
ended_early("somebody guesses", with_another_word)
with mlflow.start_run(run_name="repetition") as run:
    ids["repetition"] = run.info.run_id
    log_reproducibility_info(VALUES)
    client.set_tag(run.info.run_id, "reproduces", ids["plain"])
    attempt("repeats another", lambda: client.set_tag(run.info.run_id, "reproduces", ids["good"]))
attempt("repeats another later", lambda: client.set_tag(ids["repetition"], "reproduces", ids["good"]))
attempt("repeats nothing", lambda: client.delete_tag(ids["repetition"], "reproduces"))
attempt("repeats it again", lambda: client.set_tag(ids["repetition"], "reproduces", ids["plain"]))
attempt("a failure taken back", lambda: client.delete_tag(ids["altered"], "failure"))
attempt("another failure", lambda: client.set_tag(ids["altered"], "failure", "bad luck"))
try:
    with tracked_run(VALUES, run_name="other child"):
        with mlflow.start_run(nested=True, run_name="child of another config") as child:
            client.log_batch(child.info.run_id, params=[Param("seed", "9")], tags=[RunTag("config_digest", digest)])
except Exception as error:
    said["other child"] = str(error)

good = ids["good"]
now = int(time.time() * 1000)
attempt("tag", lambda: client.set_tag(good, "git_commit", "f" * 40))
attempt("tag away", lambda: client.delete_tag(good, "author"))
attempt("new required tag", lambda: client.set_tag(good, "mlflow.parentRunId", ids["plain"]))
attempt("metric", lambda: client.log_metric(good, "a", 100.0))
attempt("model metric", lambda: client.log_metric(good, "a", 100.0, model_id=ids["model"]))
attempt("param", lambda: client.log_param(good, "late", "1"))
attempt("batch", lambda: client.log_batch(good, metrics=[Metric("a", 100.0, now, 9)]))
attempt("reopen", lambda: client.update_run(good, status="RUNNING"))
attempt("fail it", lambda: client.set_terminated(good, "FAILED"))
def resume():
    with mlflow.start_run(run_id=good): pass
attempt("resume", resume)
def child():
    client.create_run(
        client.get_run(good).info.experiment_id,
        tags={**client.get_run(good).data.tags, "mlflow.parentRunId": good, "mlflow.runName": "late child"},
    )
attempt("child", child)
attempt("dataset", lambda: client.log_inputs(good, [mlflow.entities.DatasetInput(
    mlflow.entities.Dataset("d", "1", "local", "{}"), [])]))
attempt("file", lambda: client.log_text(good, "late", "late.txt"))
attempt("evidence", lambda: client.log_text(good, "{}", "reproducibility/manifest.json"))
attempt("model file", lambda: client.log_model_artifacts(ids["model"], sys.argv[1]))
attempt("model param", lambda: client.log_model_params(ids["model"], {"late": "1"}))
attempt("model state", lambda: client.finalize_logged_model(
    ids["model"], mlflow.entities.LoggedModelStatus.FAILED))
attempt("same model state", lambda: client.finalize_logged_model(
    ids["model"], mlflow.entities.LoggedModelStatus.READY))
attempt("a failure", lambda: client.set_tag(good, "failure", "made up"))
attempt("model", lambda: mlflow.initialize_logged_model(name="late", source_run_id=good))

attempt("note", lambda: client.set_tag(good, "mlflow.note.content", "the best so far"))
attempt("free tag", lambda: client.set_tag(good, "reviewed", "yes"))
attempt("free tags", lambda: client.log_batch(good, tags=[RunTag("a", "1"), RunTag("b", "2")]))
attempt("free tag away", lambda: client.delete_tag(good, "a"))
attempt("rename", lambda: client.update_run(good, name="good, renamed"))
attempt("rename by tag", lambda: client.set_tag(good, "mlflow.runName", "good"))
attempt("same end", lambda: client.set_terminated(good, "FINISHED"))
attempt("delete", lambda: (client.delete_run(good), client.restore_run(good)))
def register():
    client.create_registered_model("champions")
    client.create_model_version("champions", f"models:/{ids['model']}", run_id=good, model_id=ids["model"])
    client.set_registered_model_alias("champions", "best", 1)
attempt("register", register)
attempt("search", lambda: client.search_runs(["0"], "tags.mood = 'good'"))
ids["open"] = client.create_run("0", tags={**client.get_run(good).data.tags, "mlflow.runName": "open"}).info.run_id
print(json.dumps([said, ids]))
"""


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    workbench = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("gate") / project.name)))
    workbench.write("scripts/colleague.py", COLLEAGUE)
    workbench.commit()
    return workbench


@pytest.fixture(scope="module")
def environment(clean_env: dict[str, str], workbench: Workbench) -> dict[str, str]:
    return clean_env | {"PYTHONPATH": str(workbench.path / "src"), "AUTHOR": "Ada <ada@example.com>"}


@pytest.fixture(scope="module")
def server(server_python: Path, workbench: Workbench, environment: dict[str, str]) -> Iterator[TrackingServer]:
    """The gated server on the project's own database, as `repro server run --embedded` starts it."""
    command = [server_python.parent / "repro", "server", "run", "--embedded"]
    with TrackingServer(command, environment, workbench.path.parent / "server.log") as server:
        yield server


@pytest.fixture(scope="module")
def stranger(server: TrackingServer, bare_python: Path, clean_env: dict[str, str], tmp_path_factory) -> dict[str, str]:
    """What the gate said to each thing that a stranger tried, None where it let them."""
    done = subprocess.run(
        [bare_python, "-c", STRANGER],
        env=clean_env | {"MLFLOW_TRACKING_URI": server.uri},
        cwd=tmp_path_factory.mktemp("elsewhere"),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def colleague(server: TrackingServer, workbench: Workbench) -> tuple[dict[str, str | None], dict[str, str]]:
    """What the gate said to each thing that somebody of the team tried, and the ids of their runs."""
    env = {"MLFLOW_TRACKING_URI": server.uri, "PYTHONWARNINGS": "ignore"}
    done = workbench.run("python", "scripts/colleague.py", str(workbench.path / "templates"), env=env, timeout=600)
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def runs(stranger, colleague, workbench: Workbench) -> dict[str, RecordedRun]:
    return workbench.runs()


@pytest.mark.parametrize(
    ("way", "reason"),
    {
        "fluent": "it has no git_commit, git_branch, git_remote, git_dirty, data_version, author",
        "client": "it has no git_commit",
        "short commit": "git_commit: the tag is 'aaaaaaaaaaaa', not a full commit id",
        "upper commit": "not a full commit id",
        "md5 data": "data_version: the tag is 'md5:123', not `blake3:`",
        "nobody": "it has no author",
        "two things": "it has no author; git_commit: the tag is 'HEAD'",
        "child of nobody": "Run with id=ffffffffffffffffffffffffffffffff not found",
    }.items(),
)
def test_a_run_without_the_required_is_refused_before_it_begins(stranger, runs, way: str, reason: str) -> None:
    assert reason in stranger[way]
    if way != "child of nobody":
        assert GATE in stranger[way]
        assert "To fix it: start it in the project with `nox -s train`" in stranger[way]
    assert way not in runs
    assert "reached the body" not in stranger


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no params", "it has no data_version, seed"), ("no evidence", "evidence: missing: manifest.json, config.yaml")],
)
def test_a_run_that_invents_its_tags_does_not_finish(stranger, runs, name: str, reason: str) -> None:
    assert f"{GATE}this run cannot finish" in stranger[name]
    assert reason in stranger[name]
    assert runs[name].status == "FAILED"
    assert reason in runs[name].tags["failure"]


def test_a_run_may_always_fail(stranger, runs) -> None:
    assert stranger["failed"] is None
    assert runs["failed"].status == "FAILED"


def post(server: TrackingServer, path: str, body: object, method: str = "POST") -> tuple[int, str]:
    """Ask the server as curl does."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(server.uri + path, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("place", ["file:///tmp/mine", "s3://mine/runs", "/tmp/mine", "mine"])
def test_files_are_kept_where_the_gate_can_guard_them(place: str, server: TrackingServer) -> None:
    body = {"name": f"experiment in {place}", "artifact_location": place}
    status, said = post(server, "/api/2.0/mlflow/experiments/create", body)
    assert (status, f"{GATE}an experiment whose files lie in" in said) == (400, True), said


@pytest.mark.parametrize("api", ["api", "ajax-api"])
def test_the_routes_of_rest_are_behind_the_gate(api: str, server: TrackingServer, colleague) -> None:
    good = colleague[1]["good"]
    for path, body in {
        "runs/create": {"experiment_id": "0"},
        "runs/update": {"run_id": good, "status": "RUNNING"},
        "runs/set-tag": {"run_id": good, "key": "git_commit", "value": "f" * 40},
        "runs/delete-tag": {"run_id": good, "key": "git_commit"},
        "runs/log-metric": {"run_id": good, "key": "a", "value": 9, "timestamp": 1, "step": 0},
        "runs/log-parameter": {"run_id": good, "key": "late", "value": "1"},
        "runs/log-batch": {"run_id": good, "params": [{"key": "late", "value": "1"}]},
        "runs/outputs": {"run_id": good, "models": [{"model_id": colleague[1]["model"], "step": 1}]},
        "runs/log-inputs": {"run_id": good, "datasets": []},
        "artifacts/presigned-upload-url": {"run_id": good, "path": "late.txt"},
    }.items():
        status, said = post(server, f"/{api}/2.0/mlflow/{path}", body)
        assert (status, GATE in said) == (400, True), (path, said)
    status, said = post(server, f"/{api}/2.0/mlflow/runs/set-tag", {"run_id": good, "key": "free", "value": api})
    assert status == 200, said


def contents(folder: Path) -> list[tuple[Path, bytes]]:
    return sorted((path, path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def test_the_files_of_an_ended_run_stay_as_they_are(server: TrackingServer, colleague, workbench: Workbench) -> None:
    ids, files = colleague[1], "/api/2.0/mlflow-artifacts/artifacts"
    _, told = post(server, f"/api/2.0/mlflow/runs/get?run_id={ids['good']}", b"", "GET")
    experiment = json.loads(told)["run"]["info"]["experiment_id"]
    run = f"{experiment}/{ids['good']}"
    before = contents(workbench.path / "mlartifacts")
    assert any(path.name == "manifest.json" for path, _ in before)
    for method, path in (
        ("PUT", f"{files}/{run}/artifacts/reproducibility/manifest.json"),
        ("PUT", f"{files}/{run}/artifacts/late.txt"),
        ("PUT", f"{files}/{run}/artifacts/reproducibility%2Fmanifest.json"),
        ("PUT", f"{files}/{run}/artifacts%252Freproducibility%252Fmanifest.json"),
        ("PUT", f"{files}/{run}/./artifacts//reproducibility/manifest.json"),
        ("PUT", f"{files}/{experiment}/models/{ids['model']}/artifacts/MLmodel"),
        ("PUT", f"{files}/{experiment}/nobody/late.txt"),
        ("PUT", f"{files}/late.txt"),
        ("PUT", f"{files}/{run}/artifacts/{ids['open']}/artifacts/late.txt"),
        ("PUT", f"{files}/{run}/artifacts/traces/1/artifacts/late.txt"),
        ("PUT", f"{files}/{run}"),
        ("DELETE", f"{files}/{run}/artifacts/reproducibility/manifest.json"),
        ("DELETE", f"{files}/{run}/artifacts/reproducibility"),
        ("DELETE", f"{files}/{run}/artifacts"),
        ("DELETE", f"{files}/{run}"),
        ("DELETE", f"{files}/{experiment}"),
        ("POST", f"/api/2.0/mlflow-artifacts/mpu/create/{run}/artifacts/late.txt"),
        ("POST", f"/api/2.0/mlflow-artifacts/mpu/complete/{run}/artifacts/late.txt"),
        ("POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={ids['good']}&path=late.txt"),
    ):
        for way in (path, path.replace("/api/", "/ajax-api/")):
            status, said = post(server, way, b"late", method)
            assert (status, GATE in said) == (400, True), (method, way, status, said)
    assert contents(workbench.path / "mlartifacts") == before


@pytest.mark.parametrize("pieces", [[b"all at once"], [b"the first", b"the last"]])
def test_a_file_that_is_still_on_its_way_when_its_run_ends_is_not_kept(
    server: TrackingServer, colleague, workbench: Workbench, pieces: list[bytes]
) -> None:
    _, told = post(server, f"/api/2.0/mlflow/runs/get?run_id={colleague[1]['good']}", b"", "GET")
    good = json.loads(told)["run"]
    tags = [tag for tag in good["data"]["tags"] if not tag["key"].startswith("completion")]
    _, told = post(
        server, "/api/2.0/mlflow/runs/create", {"experiment_id": good["info"]["experiment_id"], "tags": tags}
    )
    run = json.loads(told)["run"]["info"]
    before = contents(workbench.path / "mlartifacts")
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    path = f"{run['experiment_id']}/{run['run_id']}/artifacts/late.txt"
    connection.putrequest("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{path}")
    connection.putheader("Content-Length", str(len(b"".join(pieces))))
    connection.endheaders()
    for piece in pieces[:-1]:
        connection.send(piece)
    time.sleep(1)  # until the server has begun to read
    status, _ = post(server, "/api/2.0/mlflow/runs/update", {"run_id": run["run_id"], "status": "FAILED"})
    assert status == 200
    connection.send(pieces[-1])
    with closing(connection), connection.getresponse() as answer:
        assert (answer.status, GATE in answer.read().decode()) == (400, True)
    assert contents(workbench.path / "mlartifacts") == before


@pytest.mark.parametrize(
    "change",
    [
        *("tag", "tag away", "new required tag", "metric", "model metric", "param", "batch", "reopen", "fail it"),
        *("resume", "child", "dataset", "file", "evidence", "model file", "model param", "model"),
        *("model state", "a failure", "a failure taken back", "another failure"),
        *("repeats another later", "repeats it again"),
    ],
)
def test_an_ended_run_takes_no_more(colleague, change: str) -> None:
    assert GATE in colleague[0][change]
    assert "To fix it: " in colleague[0][change]


@pytest.mark.parametrize(
    "change",
    [
        *("note", "free tag", "free tags", "free tag away", "rename", "rename by tag", "same end", "delete"),
        *("register", "search", "same value", "same model state", "repeats nothing"),
    ],
)
def test_what_says_nothing_of_where_a_run_comes_from_still_works(colleague, change: str) -> None:
    assert colleague[0][change] is None


def test_everything_that_people_do_in_a_run_works_behind_the_gate(colleague, runs) -> None:
    good = runs["good"]
    assert good.status == "FINISHED"
    assert good.metrics.items() >= {"a": 1.0, "b": 2.0, "async": 1.0}.items()
    assert good.params["learned"] == "3"
    notes = {"mood": "good", "reviewed": "yes", "b": "2", "mlflow.note.content": "the best so far"}
    assert good.tags.items() >= notes.items()
    assert "a" not in good.tags
    children = [run for run in runs.values() if run.tags.get("mlflow.parentRunId") == good.id]
    assert {run.status for run in children} == {"FINISHED"}
    assert len(children) >= 3  # one of ours, two of the search


@pytest.mark.parametrize("tag", ["git_commit", "author", "mlflow.user", "manifest_digest"])
def test_where_a_run_comes_from_does_not_change_while_it_runs(colleague, runs, tag: str) -> None:
    for way in ("set", "batch", "delete"):
        assert f"{GATE}{tag} of run {colleague[1]['running']} say where it comes from" in colleague[0][f"{way} {tag}"]
    assert runs["running"].status == "FINISHED"


def test_a_plain_run_says_once_which_config_it_has(colleague, runs) -> None:
    assert runs["plain"].status == "FINISHED"
    assert runs["plain"].params["seed"] == "2"
    assert "say where it comes from" in colleague[0]["restated twice"]
    assert "git_commit" in colleague[0]["commit restated"]


@pytest.mark.parametrize(
    "name", ["the block ends itself", "somebody ends it", "somebody takes the digest away", "somebody guesses"]
)
def test_a_run_that_is_ended_before_its_block_is_through_has_failed(colleague, runs, name: str) -> None:
    why = "it was ended from outside or inside its block, before `tracked_run` was through"
    assert f"{GATE}this run cannot finish: {why}" in colleague[0][name]
    assert f"{name}, at its end" in colleague[0]
    assert runs[name].status == "FAILED"
    assert why in runs[name].tags["failure"]


def test_a_run_repeats_the_run_that_it_said_first(colleague) -> None:
    assert f"{GATE}reproduces of run " in colleague[0]["repeats another"]


def test_evidence_that_was_altered_meanwhile_fails_the_run(colleague, runs) -> None:
    assert colleague[0]["evidence altered"].startswith("RunIncomplete 1 ")
    assert "manifest digest: recorded blake3:" in colleague[0]["evidence altered"]
    assert runs["evidence altered"].status == "FAILED"
    assert "manifest digest" in runs["evidence altered"].tags["failure"]


def test_a_run_inside_another_is_part_of_it_or_does_not_finish(colleague, runs) -> None:
    assert runs["nested"].status == "FINISHED"
    assert runs["child of another config"].status in ("FAILED", "RUNNING")
    assert "config_digest" in colleague[0]["other child"]


def test_the_audit_tells_who_complies(colleague, runs, workbench: Workbench, server: TrackingServer) -> None:
    done = workbench.run("repro", "audit", "--json", env={"MLFLOW_TRACKING_URI": server.uri})
    found = json.loads(done.stdout)
    verdicts = {run["run_id"]: run["verdict"] for run in found["runs"]}
    assert verdicts[runs["good"].id] == verdicts[runs["nested"].id] == "complies"
    assert verdicts[runs["evidence altered"].id] == "ended without a result"
    assert found["counts"]["complies"] == sum(run.status == "FINISHED" for run in runs.values())
    assert done.returncode == (0 if found["holds"] else 1)
