"""GitHub as a pull request meets it: act runs the generated workflow file itself, on this machine.

The actions of others are stand-ins that do here what they do there; everything else is real: git, nox, the locks and
MLflow.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import uv
from workbench import Workbench

UPSTREAM = "org/penguins"
NUMBER = 7
LIMIT = 900  # seconds, far beyond what a job takes

# What each action takes, and what it does. The environments of nox stay between the runs of a test session, as in a
# workflow with a good cache.
CHECKOUT = """
git init --quiet .
git remote add origin "$GITHUB_ORIGIN"
printf '.nox\n.cache\n' >> .git/info/exclude
for kept in .nox .cache; do mkdir -p "$GITHUB_KEPT/$kept"; ln -s "$GITHUB_KEPT/$kept" "$kept"; done
if [ "$DEPTH" = 0 ]; then
  git fetch --quiet origin '+refs/heads/*:refs/remotes/origin/*' "$REF"
else
  git fetch --quiet --depth "$DEPTH" origin "$REF"
fi
git checkout --quiet --detach "$REF"
"""
UPLOAD = """
mkdir -p "$GITHUB_KEPT/artifacts"
rm -rf "$GITHUB_KEPT/artifacts/$NAME"
cp -r "$FOLDER" "$GITHUB_KEPT/artifacts/$NAME"
rm -rf "$FOLDER"  # another job runs on another machine
"""
DOWNLOAD = 'mkdir -p "$FOLDER" && cp -r "$GITHUB_KEPT/artifacts/$NAME/." "$FOLDER"'
STAND_INS: Mapping[str, tuple[Mapping[str, str], str]] = {
    "actions/checkout": ({"ref": "REF", "fetch-depth": "DEPTH", "persist-credentials": "PERSIST"}, CHECKOUT),
    "actions/setup-python": ({"python-version": "VERSION"}, '"python$VERSION" --version'),
    "astral-sh/setup-uv": (
        {"enable-cache": "CACHE", "cache-dependency-glob": "GLOB"},
        'echo "$HOME/.local/bin" >> "$GITHUB_PATH"',
    ),
    "actions/upload-artifact": ({"name": "NAME", "path": "FOLDER"}, UPLOAD),
    "actions/download-artifact": ({"name": "NAME", "path": "FOLDER"}, DOWNLOAD),
}
DEFAULTS = {"fetch-depth": "1"}
SUMMARY = "⚙  Summary - "  # how act shows what GitHub puts on the page of the workflow


@dataclass(frozen=True)
class Workflow:
    """What became of one: {job: success or failure} of those that ran, the summary of all, and all that was printed.

    artifacts: the folder of what was uploaded, each under its name.
    """

    jobs: dict[str, str]
    summary: str
    log: str
    artifacts: Path

    @property
    def rows(self) -> dict[str, str]:
        """{title of an item: its mark} in the table of the checklist in the summary."""
        rows = re.findall(r"^\| (\S+) \| \*\*(.+?)\*\* \|", self.summary, re.MULTILINE)
        return {title: mark for mark, title in rows}


class GitHub:
    """A hosting service in *folder* for one repository; *kept* is what all its workflows share."""

    def __init__(self, folder: Path, kept: Path, clean_env: Mapping[str, str]) -> None:
        self.act = shutil.which("act") or pytest.skip("no act on this machine, the program that runs workflow files")
        self.folder, self.kept = folder, kept
        self.origin = folder / "origin.git"
        programs = [Path(uv.find_uv_bin()).parent, Path(sys.executable).parent]
        self.env = dict(clean_env) | {"PATH": os.pathsep.join([*map(str, programs), clean_env["PATH"]])}
        del self.env["PYTHONDONTWRITEBYTECODE"]  # MLflow is imported many times
        folder.mkdir(parents=True, exist_ok=True)
        self._git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.origin))
        # As on GitHub: a commit that is on no branch can be fetched by its id.
        self._git(self.origin, "config", "uploadpack.allowAnySHA1InWant", "true")

    def pull_request(
        self,
        project: Workbench,
        *options: str,
        body: str | None = "",
        fork: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> Workflow:
        """Open a pull request from the commit of *project* to its branch main; return what its workflow did.

        options: of act, such as ``-j JOB``. variables: of the repository. A fork's commit is on no branch here.
        """
        head, base = project.git("rev-parse", "HEAD"), project.git("rev-parse", "main")
        where = [f"{head}:refs/pull/{NUMBER}/head", *([] if fork else [f"{head}:refs/heads/feature"])]
        project.git("push", "--quiet", "--force", str(self.origin), "main", *where)
        event = {
            "action": "opened",
            "number": NUMBER,
            "repository": {"full_name": UPSTREAM, "default_branch": "main"},
            "pull_request": {
                "number": NUMBER,
                "body": body,
                "head": {"sha": head, "ref": "feature", "repo": {"full_name": "eve/penguins" if fork else UPSTREAM}},
                "base": {"sha": base, "ref": "main", "repo": {"full_name": UPSTREAM}},
                "user": {"login": "eve" if fork else "ada"},
            },
        }
        secrets = {} if fork else {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "secret"}
        return self._run(self._merged(head), event, options, variables or {}, secrets)

    def _merged(self, head: str) -> Path:
        """Return a checkout of the commit that GitHub makes up for a pull request."""
        place = self.folder / f"merge-{uuid4().hex[:8]}"
        self._git(self.folder, "clone", "--quiet", str(self.origin), str(place))
        self._git(place, "fetch", "--quiet", "origin", head)
        me = ["-c", "user.name=GitHub", "-c", "user.email=noreply@github.com"]
        self._git(place, *me, "merge", "--quiet", "--no-ff", "--message=Merge", head)
        self._git(place, "push", "--quiet", "--force", "origin", f"HEAD:refs/pull/{NUMBER}/merge")
        return place

    def _run(
        self,
        place: Path,
        event: Mapping[str, object],
        options: tuple[str, ...],
        variables: Mapping[str, str],
        secrets: Mapping[str, str],
    ) -> Workflow:
        (self.folder / "event.json").write_text(json.dumps(event), "utf-8")
        shutil.rmtree(self.kept / "artifacts", ignore_errors=True)
        run_id = str(uuid4().int % 10**10)
        command = [
            *(self.act, "pull_request", "--directory", str(place), "--eventpath", str(self.folder / "event.json")),
            *("--platform", "ubuntu-latest=-self-hosted", "--no-skip-checkout", "--no-cache-server", "--json"),
            *("--actor", "ada", "--env", f"GITHUB_ORIGIN={self.origin.as_uri()}", "--env", f"GITHUB_KEPT={self.kept}"),
            *("--env", f"GITHUB_RUN_ID={run_id}", "--env", f"GITHUB_REPOSITORY={UPSTREAM}"),
            *(part for name, action in self._actions(place) for part in ("--local-repository", f"{name}={action}")),
            *(part for name, value in variables.items() for part in ("--var", f"{name}={value}")),
            *(part for name, value in secrets.items() for part in ("--secret", f"{name}={value}")),
            *options,
        ]
        done = subprocess.run(
            command, env=self.env, cwd=place, check=False, capture_output=True, encoding="utf-8", timeout=LIMIT
        )
        shutil.rmtree(f"/tmp/evidence-{run_id}", ignore_errors=True)  # GitHub throws the whole machine away
        lines = [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]
        jobs = {line["jobID"]: line["jobResult"] for line in lines if "jobResult" in line}
        summaries = [line["msg"].partition(SUMMARY)[2] for line in lines if SUMMARY in line["msg"]]
        log = "".join(f"{line['msg'].rstrip()}\n" for line in lines)
        return Workflow(jobs, "".join(summaries), log, self.kept / "artifacts")

    def _actions(self, place: Path) -> list[tuple[str, Path]]:
        """Write a stand-in for each action that the workflow uses; return them with the version it asks for."""
        workflow = (place / ".github" / "workflows" / "ml-validation.yml").read_text("utf-8")
        found = []
        for used in sorted(set(re.findall(r"uses: (\S+)", workflow))):
            inputs, script = STAND_INS[used.partition("@")[0]]
            action = self.folder / "actions" / used.replace("/", "-")
            action.mkdir(parents=True, exist_ok=True)
            step = {
                "shell": "bash",
                "run": script,
                "env": {name: f"${{{{ inputs.{key} }}}}" for key, name in inputs.items()},
            }
            described = {key: {"required": False, "default": DEFAULTS.get(key, "")} for key in inputs}
            whole = {"name": used, "description": "a stand-in", "inputs": described}
            whole["runs"] = {"using": "composite", "steps": [step]}
            (action / "action.yml").write_text(json.dumps(whole), "utf-8")  # JSON is YAML
            found.append((used, action))
        return found

    def _git(self, folder: Path, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=folder, env=self.env, check=True, capture_output=True)
