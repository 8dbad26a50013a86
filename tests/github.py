"""GitHub as a pull request meets it: act runs the generated workflow file itself, on this machine.

The actions that the workflow uses are stand-ins that do the same on this machine. Everything else is real: git, nox,
the locks and MLflow.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import bytecode
import uv
from needs import skip_without
from workbench import Workbench

UPSTREAM = "org/penguins"
NUMBER = 7
LIMIT = 900  # seconds, far beyond what a job takes
# The sessions of nox that install requirements.txt.
OF_ONE_LOCK = ("data", "train", "validate", "checklist", "image", "diff")

# What each action takes, and what it does.
CHECKOUT = """
git init --quiet .
git remote add origin "$GITHUB_ORIGIN"
if [ "$DEPTH" = 0 ]; then
  git fetch --quiet origin '+refs/heads/*:refs/remotes/origin/*' "$REF"
else
  git fetch --quiet --depth "$DEPTH" origin "$REF"
fi
git checkout --quiet --detach "$REF"
mkdir "${PROJECT:?}/.nox"
ln -s "$GITHUB_ENVIRONMENTS"/* "$PROJECT/.nox"
"""
UPLOAD = """
mkdir -p "$GITHUB_ARTIFACTS"
[ "$OVERWRITE" != true ] || rm -rf "$GITHUB_ARTIFACTS/$NAME"
if [ -e "$GITHUB_ARTIFACTS/$NAME" ]; then
  echo "Conflict: an artifact with this name already exists on the workflow run"
  exit 1
fi
cp -r "$FOLDER" "$GITHUB_ARTIFACTS/$NAME"
"""
DOWNLOAD = 'mkdir -p "$FOLDER" && cp -r "$GITHUB_ARTIFACTS/$NAME/." "$FOLDER"'
CACHE = """
mkdir -p "$GITHUB_CACHES/$KEY" "$(dirname "$FOLDER")"
ln -s "$GITHUB_CACHES/$KEY" "$FOLDER"
"""
STAND_INS: Mapping[str, tuple[Mapping[str, str], str]] = {
    "actions/checkout": ({"ref": "REF", "fetch-depth": "DEPTH", "persist-credentials": "PERSIST"}, CHECKOUT),
    "actions/setup-python": ({"python-version": "VERSION"}, '"python$VERSION" --version'),
    "astral-sh/setup-uv": (
        {"enable-cache": "CACHE", "cache-dependency-glob": "GLOB", "working-directory": "WHERE", "version-file": "PIN"},
        'cd "$WHERE" && grep --quiet "^uv==" "$PIN" && ls $GLOB && echo "$HOME/.local/bin" >> "$GITHUB_PATH"',
    ),
    "actions/cache": ({"path": "FOLDER", "key": "KEY"}, CACHE),
    "actions/download-artifact": ({"name": "NAME", "path": "FOLDER"}, DOWNLOAD),
    "actions/upload-artifact": ({"name": "NAME", "path": "FOLDER", "overwrite": "OVERWRITE"}, UPLOAD),
}
DEFAULTS = {"fetch-depth": "1", "working-directory": ".", "ref": "${{ github.sha }}"}
_LOGIN = {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "secret"}
SUMMARY = "⚙  Summary - "  # how act shows what GitHub puts on the page of the workflow


@dataclass(frozen=True)
class Workflow:
    """The end of a workflow: {job: success or failure} of the jobs that ran, their summaries, and all that was printed.

    artifacts: the folder with everything that was uploaded, each upload under its name.
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
    """A hosting service in *folder* for one repository. *environments*: what `make_environments` made."""

    def __init__(self, folder: Path, environments: Path, clean_env: Mapping[str, str]) -> None:
        self.act = shutil.which("act") or skip_without("act")
        self.folder, self.origin, self.artifacts = folder, folder / "origin.git", folder / "artifacts"
        programs = [Path(uv.find_uv_bin()).parent, Path(sys.executable).parent]
        self.env = dict(clean_env) | {"PATH": os.pathsep.join([*map(str, programs), clean_env["PATH"]])}
        self.env |= {"GITHUB_ENVIRONMENTS": str(environments), "GITHUB_ARTIFACTS": str(self.artifacts)}
        self.caches = environments.parent / "caches"  # shared by the workflows of all tests, as by those of a branch
        self.env["GITHUB_CACHES"] = str(self.caches)
        del self.env["PYTHONPYCACHEPREFIX"]  # byte code lies beside the modules, for the checkouts of all workflows
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
        attempt: int = 1,
    ) -> Workflow:
        """Open a pull request from the commit of *project* to its branch main; return what its workflows did.

        options: of act, such as ``-j JOB``. variables: of the repository. A fork's commit is on no branch here. The
        second attempt runs the jobs of the last pull request again.
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
        secrets = {} if fork else _LOGIN
        return self._run("pull_request", self._merged(head), event, options, variables or {}, secrets, attempt)

    def start(
        self, project: Workbench, *options: str, inputs: Mapping[str, str], variables: Mapping[str, str] | None = None
    ) -> Workflow:
        """Start the workflows by hand for the commit of *project*, on its branch feature; return what they did."""
        head = project.git("rev-parse", "HEAD")
        project.git("push", "--quiet", "--force", str(self.origin), "main", f"{head}:refs/heads/feature")
        place = self.folder / f"feature-{uuid4().hex[:8]}"
        self._git(self.folder, "clone", "--quiet", "--branch=feature", str(self.origin), str(place))
        event = {"inputs": dict(inputs), "ref": "refs/heads/feature", "repository": {"full_name": UPSTREAM}}
        return self._run("workflow_dispatch", place, event, options, variables or {}, _LOGIN)

    def merge_group(self, project: Workbench, *options: str, secrets: Mapping[str, str] = _LOGIN) -> Workflow:
        """Put the commit of *project* into the merge queue of main; return what the workflows did."""
        head, base = project.git("rev-parse", "HEAD"), project.git("rev-parse", "main")
        project.git("push", "--quiet", "--force", str(self.origin), "main", f"{head}:refs/heads/feature")
        place = self._merged(head, f"refs/heads/gh-readonly-queue/main/pr-{NUMBER}-{base}")
        merged = subprocess.check_output(["git", "-C", place, "rev-parse", "HEAD"], env=self.env, text=True).strip()
        group = {"head_sha": merged, "base_sha": base, "head_ref": "refs/heads/gh-readonly-queue/main/pr-7"}
        event = {"action": "checks_requested", "merge_group": group, "repository": {"full_name": UPSTREAM}}
        variables = {"MLFLOW_TRACKING_URI": "https://mlflow.example.com"}
        return self._run("merge_group", place, event, options, variables, secrets)

    def week(self, project: Workbench, *options: str) -> Workflow:
        """Let the time come at which the workflow template-update.yml runs on main of *project*."""
        project.git("push", "--quiet", "--force", str(self.origin), "main")
        place = self.folder / f"main-{uuid4().hex[:8]}"
        self._git(self.folder, "clone", "--quiet", "--branch", "main", str(self.origin), str(place))
        event = {"repository": {"full_name": UPSTREAM, "default_branch": "main"}, "schedule": "41 5 * * 1"}
        workflow = place / ".github" / "workflows" / "template-update.yml"
        return self._run("schedule", place, event, ("--workflows", str(workflow), *options), {}, {})

    def _merged(self, head: str, ref: str = f"refs/pull/{NUMBER}/merge") -> Path:
        """Return a checkout of the commit that GitHub makes up for a pull request, and keeps as *ref*."""
        place = self.folder / f"merge-{uuid4().hex[:8]}"
        self._git(self.folder, "clone", "--quiet", str(self.origin), str(place))
        self._git(place, "fetch", "--quiet", "origin", head)
        me = ["-c", "user.name=GitHub", "-c", "user.email=noreply@github.com"]
        self._git(place, *me, "merge", "--quiet", "--no-ff", "--message=Merge", head)
        self._git(place, "push", "--quiet", "--force", "origin", f"HEAD:{ref}")
        return place

    def _run(
        self,
        name: str,
        place: Path,
        event: Mapping[str, object],
        options: tuple[str, ...],
        variables: Mapping[str, str],
        secrets: Mapping[str, str],
        attempt: int = 1,
    ) -> Workflow:
        (self.folder / "event.json").write_text(json.dumps(event), "utf-8")
        if attempt == 1:
            shutil.rmtree(self.artifacts, ignore_errors=True)
            self.run_id = str(uuid4().int % 10**10)
        command = [
            *(self.act, name, "--directory", str(place), "--eventpath", str(self.folder / "event.json")),
            *("--platform", "ubuntu-latest=-self-hosted", "--no-skip-checkout", "--no-cache-server", "--json"),
            *("--actor", "ada", "--env", f"GITHUB_ORIGIN={self.origin.as_uri()}"),
            *("--env", f"GITHUB_RUN_ID={self.run_id}", "--env", f"GITHUB_RUN_ATTEMPT={attempt}"),
            *("--env", f"GITHUB_REPOSITORY={UPSTREAM}"),
            *stand_ins(_prepared(place), self.folder / "actions"),
            *(part for name, value in variables.items() for part in ("--var", f"{name}={value}")),
            *(part for name, value in secrets.items() for part in ("--secret", f"{name}={value}")),
            *options,
        ]
        done = subprocess.run(
            command, env=self.env, cwd=place, check=False, capture_output=True, encoding="utf-8", timeout=LIMIT
        )
        left = list(Path("/tmp").glob(f"evidence-{self.run_id}-*"))
        assert left == [], "a workflow left evidence on a machine that others use too"
        lines = [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]
        jobs = {line["jobID"]: line["jobResult"] for line in lines if "jobResult" in line}
        summaries = [line["msg"].partition(SUMMARY)[2] for line in lines if SUMMARY in line["msg"]]
        log = "".join(f"{line['msg'].rstrip()}\n" for line in lines)
        return Workflow(jobs, "".join(summaries), log, self.artifacts)

    def _git(self, folder: Path, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=folder, env=self.env, check=True, capture_output=True)


def stand_ins(workflows: Iterable[Path], folder: Path) -> list[str]:
    """Write a stand-in for each action that the *workflows* use into *folder*; return the options that name them."""
    options = []
    used_ones = {used for file in workflows for used in re.findall(r"uses: (\S+)", file.read_text("utf-8"))}
    for used in sorted(used_ones):
        inputs, script = STAND_INS[used.partition("@")[0]]
        action = folder / used.replace("/", "-")
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
        options += ["--local-repository", f"{used}={action}"]
    return options


def _prepared(place: Path) -> list[Path]:
    """Return the workflow files in *place*, after taking out what act does not know and would do without."""
    files = list((place / ".github" / "workflows").iterdir())
    for file in files:
        file.write_text(file.read_text("utf-8").replace(", deployment: false}", "}"), "utf-8")
    return files


def make_environments(folder: Path, python: Path, lock: Path, prefix: Path) -> None:
    """Make the folder of nox's environments, one for each session: they stay between the workflows.

    An environment has what *lock* pins and nothing of the project, so that a session which installs nothing fails.
    Its byte code is what *prefix* has for the packages of *python*.
    """
    installer = uv.find_uv_bin()
    for name in OF_ONE_LOCK:
        made = folder / name
        subprocess.run([installer, "venv", "--quiet", "--python", python, made], check=True)
        command = [installer, "pip", "sync", "--quiet", "--python", made / "bin" / "python", "--require-hashes", lock]
        subprocess.run(command, check=True)
        bytecode.put_beside(prefix, python.parent.parent, made)
