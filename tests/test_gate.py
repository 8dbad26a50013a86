"""The gate before a real tracking server: what it refuses, whoever asks and however, and what it allows."""

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from conftest import code_of
from tracking_server import TrackingServer
from workbench import SCRIPTS, RecordedRun, Workbench

GATE = "reproducibility gate: "
API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts"


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    workbench = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("gate") / project.name)))
    workbench.add("attempts.py", "gate_colleague.py")
    workbench.commit()
    return workbench


@pytest.fixture(scope="module")
def server(server_python: Path, workbench: Workbench, clean_env: dict[str, str]) -> Iterator[TrackingServer]:
    """The gated server on the project's own database, as `repro server run --embedded` starts it."""
    command = [server_python.parent / "repro", "server", "run", "--embedded"]
    environment = clean_env | {"PYTHONPATH": code_of(workbench.path)}
    with TrackingServer(command, environment, workbench.path.parent / "server.log") as server:
        yield server


@pytest.fixture(scope="module")
def stranger(server: TrackingServer, bare_python: Path, clean_env: dict[str, str], tmp_path_factory) -> dict[str, str]:
    """{what a stranger tried: the server's error, or None where it worked}."""
    done = subprocess.run(
        [bare_python, SCRIPTS / "gate_stranger.py"],
        env=clean_env | {"MLFLOW_TRACKING_URI": server.uri},
        cwd=tmp_path_factory.mktemp("elsewhere"),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def colleague(server: TrackingServer, workbench: Workbench) -> tuple[dict[str, str | None], dict[str, str]]:
    """{what somebody of the team tried: the error, or None}, and the ids of their runs."""
    env = {"MLFLOW_TRACKING_URI": server.uri, "AUTHOR": "Ada <ada@example.com>", "PYTHONWARNINGS": "ignore"}
    done = workbench.run("python", "scripts/gate_colleague.py", workbench.path / "templates", env=env, timeout=600)
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


@pytest.mark.parametrize("location", ["file:///tmp/mine", "s3://mine/runs", "/tmp/mine", "mine"])
def test_files_are_kept_where_the_gate_can_guard_them(location: str, server: TrackingServer) -> None:
    body = {"name": f"experiment in {location}", "artifact_location": location}
    status, text = server.ask(f"{API}/experiments/create", body)
    assert (status, f"{GATE}no run can keep files in" in text) == (400, True), text


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
        status, text = server.ask(f"/{api}/2.0/mlflow/{path}", body)
        assert (status, GATE in text) == (400, True), (path, text)
    free = {"run_id": good, "key": "free", "value": api}
    status, text = server.ask(f"/{api}/2.0/mlflow/runs/set-tag", free)
    assert status == 200, text


def test_the_server_deletes_nothing_that_a_protected_alias_rests_on(
    server: TrackingServer, colleague, workbench: Workbench
) -> None:
    good = colleague[1]["good"]
    record = ("whales", 1)
    with closing(sqlite3.connect(workbench.store)) as database, database:
        database.execute("INSERT INTO registered_models (name) VALUES (?)", record[:1])
        database.execute("INSERT INTO model_versions (name, version, run_id) VALUES (?, ?, ?)", (*record, good))
        alias = "INSERT INTO registered_model_aliases (name, version, alias) VALUES (?, ?, 'Champion')"
        database.execute(alias, record)
    experiment = experiment_of(server, good)
    for kind, body, rests in (
        ("runs", {"run_id": good}, f"run {good} cannot be deleted, because {{}} rests on it."),
        ("experiments", {"experiment_id": experiment}, f"because {{}} rests on its run {good}."),
    ):
        status, text = server.ask(f"{API}/{kind}/delete", body)
        reason = rests.format("the alias 'Champion' of 'whales' (version 1)")
        assert (status, GATE in text, reason in text) == (400, True, True), text
    with closing(sqlite3.connect(workbench.store)) as database, database:
        database.execute("DELETE FROM registered_model_aliases WHERE name = 'whales'")
    for step in ("delete", "restore"):
        status, text = server.ask(f"{API}/runs/{step}", {"run_id": good})
        assert status == 200, text


def contents(folder: Path) -> list[tuple[Path, bytes]]:
    return sorted((path, path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def experiment_of(server: TrackingServer, run_id: str) -> str:
    _, text = server.ask(f"{API}/runs/get?run_id={run_id}", method="GET")
    return json.loads(text)["run"]["info"]["experiment_id"]


def test_the_files_of_an_ended_run_stay_as_they_are(server: TrackingServer, colleague, workbench: Workbench) -> None:
    ids = colleague[1]
    experiment = experiment_of(server, ids["good"])
    run = f"{experiment}/{ids['good']}"
    before = contents(workbench.path / "mlartifacts")
    assert any(path.name == "manifest.json" for path, _ in before)
    for method, path in (
        *(
            ("PUT", f"{FILES}/artifacts/{file}")
            for file in (
                f"{run}/artifacts/reproducibility/manifest.json",
                f"{run}/artifacts/late.txt",
                f"{run}/artifacts/reproducibility%2Fmanifest.json",
                f"{run}/artifacts%252Freproducibility%252Fmanifest.json",
                f"{run}/./artifacts//reproducibility/manifest.json",
                f"{experiment}/models/{ids['model']}/artifacts/MLmodel",
                f"{experiment}/nobody/late.txt",
                "late.txt",
                f"{run}/artifacts/{ids['open']}/artifacts/late.txt",
                f"{run}/artifacts/traces/1/artifacts/late.txt",
                run,
            )
        ),
        ("DELETE", f"{FILES}/artifacts/{run}/artifacts/reproducibility/manifest.json"),
        ("DELETE", f"{FILES}/artifacts/{run}/artifacts/reproducibility"),
        ("DELETE", f"{FILES}/artifacts/{run}/artifacts"),
        ("DELETE", f"{FILES}/artifacts/{run}"),
        ("DELETE", f"{FILES}/artifacts/{experiment}"),
        ("POST", f"{FILES}/mpu/create/{run}/artifacts/late.txt"),
        ("POST", f"{FILES}/mpu/complete/{run}/artifacts/late.txt"),
        ("POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={ids['good']}&path=late.txt"),
    ):
        for way in (path, path.replace("/api/", "/ajax-api/")):
            status, text = server.ask(way, b"late", method)
            assert (status, GATE in text) == (400, True), (method, way, status, text)
    assert contents(workbench.path / "mlartifacts") == before


@pytest.mark.parametrize("pieces", [[b"all at once"], [b"the first", b"the last"]])
def test_a_file_that_is_still_on_its_way_when_its_run_ends_is_not_kept(
    server: TrackingServer, colleague, runs, workbench: Workbench, pieces: list[bytes]
) -> None:
    tags = [{"key": key, "value": value} for key, value in runs["good"].tags.items()]
    experiment = experiment_of(server, runs["good"].id)
    _, text = server.ask(f"{API}/runs/create", {"experiment_id": experiment, "tags": tags})
    run_id = json.loads(text)["run"]["info"]["run_id"]
    before = contents(workbench.path / "mlartifacts")
    connection = HTTPConnection("127.0.0.1", server.port, timeout=600)
    connection.putrequest("PUT", f"{FILES}/artifacts/{experiment}/{run_id}/artifacts/late.txt")
    connection.putheader("Content-Length", str(len(b"".join(pieces))))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    # The server says so when it begins to read the body: the run was open then.
    with connection.sock.makefile("rb", buffering=0) as answers:
        assert answers.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert answers.readline() == b"\r\n"
    for piece in pieces[:-1]:
        connection.send(piece)
    assert server.ask(f"{API}/runs/update", {"run_id": run_id, "status": "FAILED"})[0] == 200
    time.sleep(0.2)  # longer than the 0.1 s after its headers in which a body is not checked again
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
        *("reproduces another later", "reproduces it again"),
    ],
)
def test_an_ended_run_takes_no_more(colleague, change: str) -> None:
    assert GATE in colleague[0][change]
    assert "To fix it: " in colleague[0][change]


@pytest.mark.parametrize(
    "change",
    [
        *("note", "free tag", "free tags", "free tag away", "rename", "rename by tag", "same end", "delete"),
        *("register", "search", "same value", "same model state", "reproduces nothing"),
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
def test_a_run_that_somebody_else_ends_goes_on(colleague, runs, name: str) -> None:
    refusal = "the token does not fit" if name == "somebody guesses" else "cannot become FINISHED here: only"
    assert refusal in colleague[0][name]
    assert colleague[0][f"{name}, at its end"] is None
    assert runs[name].status == "FINISHED"
    assert runs[name].metrics["late"] == 1.0


def test_a_reproduction_cannot_name_another_run_later(colleague) -> None:
    assert f"{GATE}reproduces of run " in colleague[0]["reproduces another"]


def test_evidence_that_was_altered_meanwhile_fails_the_run(colleague, runs) -> None:
    assert colleague[0]["evidence altered"].startswith("RunIncomplete 1 ")
    assert "manifest digest: recorded blake3:" in colleague[0]["evidence altered"]
    assert runs["evidence altered"].status == "FAILED"
    assert "manifest digest" in runs["evidence altered"].tags["failure"]


def test_a_run_inside_another_is_part_of_it_or_does_not_finish(colleague, runs) -> None:
    assert runs["nested"].status == "FINISHED"
    assert runs["child of another config"].status in ("FAILED", "RUNNING")
    assert "config_digest" in colleague[0]["other child"]


def test_a_run_cannot_be_inside_itself(colleague, runs) -> None:
    for name in ("inside itself", "inside its own child"):
        assert f"run {runs['around'].id} or inside it, so it cannot be around it" in colleague[0][name]
    assert runs["around"].status == runs["inside"].status == "FINISHED"


def test_the_audit_tells_who_complies(colleague, runs, workbench: Workbench, server: TrackingServer) -> None:
    done = workbench.run("repro", "audit", "--json", env={"MLFLOW_TRACKING_URI": server.uri})
    found = json.loads(done.stdout)
    verdicts = {run["run_id"]: run["verdict"] for run in found["runs"]}
    assert verdicts[runs["good"].id] == verdicts[runs["nested"].id] == "complies"
    assert verdicts[runs["evidence altered"].id] == "ended without a result"
    assert found["counts"]["complies"] == sum(run.status == "FINISHED" for run in runs.values())
    assert done.returncode == (0 if found["holds"] else 1)
