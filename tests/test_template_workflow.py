"""The template's own workflow under act: which of its jobs each event starts.

The steps are left out: what they do is the demo, the lock, and these tests themselves.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from needs import skip_without

PROOF = {"demo", "tests", "edition", "elsewhere"}
RENEWAL = {"renewed-locks", "pull-request", "vulnerable"}


@pytest.mark.parametrize(
    ("event", "jobs"),
    [
        ("pull_request", PROOF),
        ("push", PROOF | {"publish"}),
        ("schedule", RENEWAL),
        ("workflow_dispatch", PROOF | RENEWAL),
    ],
)
def test_each_event_starts_its_jobs(
    event: str, jobs: set[str], template: Path, clean_env: dict[str, str], tmp_path: Path
) -> None:
    act = shutil.which("act") or skip_without("act")
    whole = yaml.safe_load((template / ".github" / "workflows" / "template.yml").read_text("utf-8"))
    whole["on"] = whole.pop(True)  # YAML reads the key `on` as true
    systems = {"ubuntu-latest"}
    for job in whole["jobs"].values():
        systems.update(job.get("strategy", {}).get("matrix", {}).get("os", []))
        job["steps"] = [{"run": "true"}]
    workflow = tmp_path / ".github" / "workflows" / "template.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text(yaml.safe_dump(whole), "utf-8")
    subprocess.run(["git", "init", "--quiet", tmp_path], env=clean_env, check=True)
    platforms = [f"--platform={system}=-self-hosted" for system in sorted(systems)]
    command = [act, event, *platforms, "--no-cache-server", "--json"]
    done = subprocess.run(
        command, env=clean_env, cwd=tmp_path, check=False, capture_output=True, encoding="utf-8", timeout=600
    )
    lines = [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]
    ended = {(line["jobID"], line["jobResult"]) for line in lines if "jobResult" in line}
    assert ended == {(job, "success") for job in jobs}, done.stdout + done.stderr
