"""A server with logins: a run is its author's, a login without a role only reads, and only provers give verdicts."""

from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from bare_client import API, FILES, GATE, BareClient, pairs, provenance_of
from conftest import code_of
from tracking_server import TrackingServer
from workbench import Workbench

PASSWORD = "correct horse battery"  # noqa: S105
ADMIN = ("operator", "staple of the horse")
LOGINS = ("ada@example.com", "eve@example.com", "ci@example.com", "reader@example.com")


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    return Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("logins") / project.name)))


@pytest.fixture(scope="module")
def server(
    server_python: Path, workbench: Workbench, clean_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TrackingServer]:
    folder = tmp_path_factory.mktemp("store")
    policy = (workbench.path / "configs" / "base.yaml").read_text("utf-8")
    (folder / "base.yaml").write_text(policy.replace("provers: []", "provers: [ci@example.com]"), "utf-8")
    ini = (workbench.path / "configs" / "server.ini").read_text("utf-8")
    ini = ini.replace("postgresql://mlflow@database/mlflow", f"sqlite:///{folder / 'logins.db'}")
    (folder / "server.ini").write_text(ini, "utf-8")
    env = clean_env | {
        "PYTHONPATH": code_of(workbench.path),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'server.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": (folder / "files").as_uri(),
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "server.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN[0],
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "k" * 40,
        "REPRODUCIBILITY_POLICY": str(folder / "base.yaml"),
    }
    command = [server_python.parent / "repro", "server", "run"]
    with TrackingServer(command, env, folder / "log") as server:
        yield server


@pytest.fixture(scope="module")
def clients(server: TrackingServer, workbench: Workbench) -> dict[str, BareClient]:
    """{name: its client}; all but the reader are members, as README.md of the project says."""
    admin = BareClient(server, provenance_of(workbench, ADMIN[0]), ADMIN)
    (role,) = admin.done("/api/3.0/mlflow/roles/list?workspace=default", method="GET")["roles"]
    found = {"admin": admin}
    for login in LOGINS:
        admin.done(f"{API}/users/create", {"username": login, "password": PASSWORD})
        if not login.startswith("reader"):
            admin.done("/api/3.0/mlflow/roles/assign", {"username": login, "role_id": role["id"]})
        found[login.partition("@")[0]] = BareClient(server, provenance_of(workbench, login), (login, PASSWORD))
    return found


def refusal(client: BareClient, path: str, body: object, method: str = "POST") -> str:
    status, text = client.ask(path, body, method)
    assert (status, GATE in text) == (400, True), (path, status, text)
    return text


def test_a_run_is_of_who_is_logged_in_whatever_it_says(clients: dict[str, BareClient]) -> None:
    ada = clients["ada"]
    body = {"experiment_id": "0", "user_id": "eve@example.com"}
    for author in ("Eve <eve@example.com>", "Ada\n<ada@example.com>", "eve@example.com <ada@example.com>"):
        own = ada.facts.tags | {"author": author}
        assert "is logged in" in refusal(ada, f"{API}/runs/create", body | {"tags": pairs(own)})
    own = ada.facts.tags | {"mlflow.user": "eve@example.com"}
    run = ada.done(f"{API}/runs/create", body | {"tags": pairs(own)})["run"]
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert (run["info"]["user_id"], tags["mlflow.user"], tags["author"]) == ("ada@example.com",) * 3


def test_only_its_author_or_an_admin_ends_changes_and_deletes_a_run(clients: dict[str, BareClient]) -> None:
    ada, eve, admin = clients["ada"], clients["eve"], clients["admin"]
    run_id = ada.begin()
    ada.put_evidence(run_id)
    one = {"key": "loss", "value": 1.0, "timestamp": 1, "step": 0}
    changes = {
        "runs/update": {"run_id": run_id, "status": "FAILED"},
        "runs/log-metric": {"run_id": run_id, **one},
        "runs/log-batch": {"run_id": run_id, "params": pairs({"late": "1"})},
        "runs/log-parameter": {"run_id": run_id, "key": "late", "value": "1"},
        "runs/log-inputs": {"run_id": run_id, "datasets": []},
        "logged-models": {"experiment_id": "0", "name": "model", "source_run_id": run_id},
    }
    for path, body in changes.items():
        assert "belongs to 'ada@example.com'" in refusal(eve, f"{API}/{path}", body)
    for key in ("failure", "reproduces", "mlflow.runName", "mlflow.source.name", "reproduces_verdict"):
        refusal(eve, f"{API}/runs/set-tag", {"run_id": run_id, "key": key, "value": "x"})
    file = f"{FILES}/0/{run_id}/artifacts/late.txt"
    assert "belongs to 'ada@example.com'" in refusal(eve, file, b"late", "PUT")
    assert clients["reader"].ask(file, b"late", "PUT")[0] == 403
    assert admin.put(run_id, "note.txt", "by the admin")[0] == 200
    eve.done(f"{API}/runs/set-tag", {"run_id": run_id, "key": "reviewed", "value": "by Eve"})
    assert ada.end(run_id)[0] == 200
    assert ada.status(run_id) == "FINISHED"
    for client, status in ((eve, {400, 403}), (clients["reader"], {403})):
        assert client.ask(f"{API}/runs/delete", {"run_id": run_id})[0] in status
    assert eve.ask(f"{API}/runs/update", {"run_id": run_id, "run_name": "mine"})[0] == 400
    open_run = ada.begin()
    assert admin.end(open_run, "FAILED")[0] == 200


def test_who_creates_an_experiment_does_not_delete_what_others_recorded_in_it(clients: dict[str, BareClient]) -> None:
    eve, ada = clients["eve"], clients["ada"]
    experiment = eve.done(f"{API}/experiments/create", {"name": "eve's"})["experiment_id"]
    own = eve.begin(experiment=experiment)
    others = ada.begin(experiment=experiment)
    assert f"run {others} belongs to" in refusal(eve, f"{API}/experiments/delete", {"experiment_id": experiment})
    assert "belongs to" in refusal(eve, f"{API}/runs/delete", {"run_id": others})
    eve.done(f"{API}/runs/delete", {"run_id": own})


def test_a_login_without_a_role_only_reads(clients: dict[str, BareClient]) -> None:
    ada, reader = clients["ada"], clients["reader"]
    run_id = ada.record()
    assert reader.status(run_id) == "FINISHED"
    assert reader.done_text(f"{FILES}/0/{run_id}/artifacts/reproducibility/manifest.json")
    note = {"run_id": run_id, "key": "note", "value": "x"}
    for path, body in (
        ("runs/create", {"experiment_id": "0"}),
        ("runs/update", {"run_id": run_id}),
        ("runs/set-tag", note),
    ):
        assert reader.ask(f"{API}/{path}", body)[0] == 403
    assert "can only read" in refusal(reader, f"{API}/experiments/create", {"name": "reader's"})
    assert "can only read" in refusal(reader, f"{API}/registered-models/create", {"name": "reader's"})


def test_only_the_reproduction_of_a_prover_counts(clients: dict[str, BareClient]) -> None:
    ada, ci = clients["ada"], clients["ci"]

    def promoted(original: str, reproduction: str, name: str) -> tuple[int, str]:
        """Try to let the alias point to the model of *original*, which *reproduction* reproduces."""
        ada.done(f"{API}/registered-models/create", {"name": name})
        version = {"name": name, "source": f"models:/{models[original]}", "run_id": original}
        ada.done(f"{API}/model-versions/create", version | {"model_id": models[original]})
        return ada.ask(f"{API}/registered-models/alias", {"name": name, "alias": "champion", "version": "1"})

    models: dict[str, str] = {}

    def trained(client: BareClient, tags: dict[str, str]) -> str:
        run_id = client.begin(tags)
        body = {"experiment_id": "0", "name": "model", "source_run_id": run_id}
        models[run_id] = client.done(f"{API}/logged-models", body)["model"]["info"]["model_id"]
        model = {"model_id": models[run_id], "step": 0}
        client.done(f"{API}/runs/outputs", {"run_id": run_id, "models": [model]})
        client.put_evidence(run_id)
        assert client.end(run_id)[0] == 200
        return run_id

    verdict = {"reproduces_verdict": "identical"}
    original = trained(ada, {})
    invented = trained(ada, {"reproduces": original, **verdict})
    claim = {"reproduced_by": invented, "reproduced_verdict": "identical"}
    for key, value in claim.items():
        text = refusal(ada, f"{API}/runs/set-tag", {"run_id": original, "key": key, "value": value})
        assert "does not count from 'ada@example.com'" in text
        refusal(ada, f"{API}/runs/log-batch", {"run_id": original, "tags": pairs({key: value})})
    # At the creation of a run anybody may write any tag: such a verdict is not believed.
    forged = trained(ada, {"reproduced_verdict": "identical", "reproduced_by": invented})
    assert promoted(forged, invented, "forged")[0] == 400
    proof = trained(ci, {"reproduces": original, **verdict})
    for key, value in (claim | {"reproduced_by": invented}).items():
        ci.done(f"{API}/runs/set-tag", {"run_id": original, "key": key, "value": value})
    status, text = promoted(original, invented, "whales")
    assert (status, "`policy.provers` does not name" in text) == (400, True), text
    ci.done(f"{API}/runs/set-tag", {"run_id": original, "key": "reproduced_by", "value": proof})
    body = {"name": "whales", "alias": "champion", "version": "1"}
    assert ada.ask(f"{API}/registered-models/alias", body)[0] == 200
    # What the alias rests on stays.
    for client in (ada, ci):
        for run_id in (original, proof):
            assert client.ask(f"{API}/runs/delete", {"run_id": run_id})[0] in (400, 403)


def test_nobody_without_a_login_learns_whether_a_run_exists(server: TrackingServer, clients) -> None:
    run_id = clients["ada"].record()
    answers = set()
    for some in (run_id, "f" * 32):
        file = f"{FILES}/0/{some}/artifacts/late.txt"
        upload = f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={some}&path=late.txt"
        create = f"/api/2.0/mlflow-artifacts/mpu/create/0/{some}/artifacts/late.txt"
        for method, path in (("DELETE", file), ("PUT", file), ("POST", upload), ("POST", create)):
            answers.add(server.ask(path, b"late", method))
    assert len(answers) == 1 and answers.pop()[0] == 401


def test_the_reproduction_of_a_member_is_a_tag_of_itself_alone(
    server: TrackingServer, clients, workbench: Workbench
) -> None:
    """`repro reproduce` by a login that is no prover."""
    env = {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_TRACKING_USERNAME": LOGINS[0], "AUTHOR": LOGINS[0]}
    env |= {"MLFLOW_TRACKING_PASSWORD": PASSWORD}
    done = workbench.run("repro", "train", "configs/experiment.yaml", env=env)
    assert done.returncode == 0, done.stderr
    done = workbench.run("repro", "reproduce", "last", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the verdict is a tag of the reproduction alone" in done.stdout + done.stderr


def test_a_sender_cannot_go_on_guessing_a_password(server: TrackingServer, clients) -> None:
    def asked(login: str, password: str) -> int:
        search = f"{API}/experiments/search?max_results=1"
        return server.ask(search, method="GET", login=(login, password))[0]

    assert [asked(LOGINS[1], f"guess {number}") for number in range(12)] == [401] * 10 + [429] * 2
    assert asked(LOGINS[1], PASSWORD) == 429  # a right guess is not told from a wrong one
    assert asked(LOGINS[0], PASSWORD) == 200
