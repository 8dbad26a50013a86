"""A client that sends requests and has no code of ours or of MLflow: what it records may be copied from a real run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracking_server import TrackingServer
from workbench import Workbench

API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
GATE = "reproducibility gate: "


@dataclass(frozen=True)
class Provenance:
    """What a run of a project carries: tags, params, and {name: content} of its evidence."""

    tags: Mapping[str, str]
    params: Mapping[str, str]
    evidence: Mapping[str, str]


def provenance_of(workbench: Workbench, author: str = "Ada <ada@example.com>") -> Provenance:
    """Return what a run of the project at *workbench* would carry now."""
    done = workbench.script("provenance.py", env={"AUTHOR": author})
    assert done.returncode == 0, done.stderr
    return Provenance(**json.loads(done.stdout.splitlines()[-1]))


def pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


class BareClient:
    """One client of a server, with a login or without."""

    def __init__(self, server: TrackingServer, facts: Provenance, login: tuple[str, str] | None = None) -> None:
        self.server, self.facts, self.login = server, facts, login

    def ask(self, path: str, body: object = b"", method: str = "POST") -> tuple[int, str]:
        return self.server.ask(path, body, method, self.login)

    def done(self, path: str, body: object = b"", method: str = "POST") -> Any:
        """Ask, and return what the answer holds; fail unless the server did it."""
        status, text = self.ask(path, body, method)
        assert status == 200, (path, status, text)
        return json.loads(text) if text.strip() else None

    def done_text(self, path: str) -> str:
        """Return the text of the file at *path*."""
        status, text = self.ask(path, method="GET")
        assert status == 200, (path, status, text)
        return text

    def begin(self, tags: Mapping[str, str] | None = None, experiment: str = "0") -> str:
        """Create a run with everything but its evidence; return its id."""
        own = {**self.facts.tags, **(tags or {})}
        created = self.done(f"{API}/runs/create", {"experiment_id": experiment, "tags": pairs(own)})
        run_id = created["run"]["info"]["run_id"]
        self.done(f"{API}/runs/log-batch", {"run_id": run_id, "params": pairs(self.facts.params)})
        return run_id

    def put(self, run_id: str, name: str, content: str, experiment: str = "0") -> tuple[int, str]:
        return self.ask(f"{FILES}/{experiment}/{run_id}/artifacts/{name}", content.encode(), "PUT")

    def put_evidence(self, run_id: str, experiment: str = "0") -> None:
        for name, content in self.facts.evidence.items():
            assert self.put(run_id, f"reproducibility/{name}", content, experiment)[0] == 200

    def end(self, run_id: str, status: str = "FINISHED") -> tuple[int, str]:
        return self.ask(f"{API}/runs/update", {"run_id": run_id, "status": status, "end_time": 1})

    def record(self, tags: Mapping[str, str] | None = None) -> str:
        """Record a run from its beginning to FINISHED; return its id."""
        run_id = self.begin(tags)
        self.put_evidence(run_id)
        status, text = self.end(run_id)
        assert status == 200, text
        return run_id

    def run(self, run_id: str) -> Any:
        return self.done(f"{API}/runs/get?run_id={run_id}", method="GET")["run"]

    def status(self, run_id: str) -> str:
        return self.run(run_id)["info"]["status"]
