"""A build: an image of a commit, with the commit's provenance in it; never of the work tree itself."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from ..digest import digest
from ..display import say
from ..errors import Refused, Violation
from ..git.command import git
from ..git.state import GitState, git_state
from ..lockfile import LOCK
from ..project import PROJECT_ROOT, project_name
from ..provenance.code import BUILD_IT, PATCH, RECORD, ImageRecord, files_in
from .engine import Engine

_COMMIT_LABEL = "org.opencontainers.image.revision"


def build(engine: Engine, *, snapshot: bool = False, base: str | None = None) -> tuple[str, str]:
    """Return name and id of the image of the project as it is; it is built, visibly, if there is none yet.

    base: the image to start from, instead of the one that the Dockerfile names.

    Raises Refused when the work tree differs from the commit and no *snapshot* of it is wanted, when git cannot tell,
    and when the engine fails.
    """
    say("looking at the commit ...")
    state = git_state(PROJECT_ROOT)
    if state.dirty and not snapshot:
        problem = "the work tree differs from the commit, and an image is built from a commit"
        fix = "commit the changes (git status lists them), or add --snapshot to build with them as a patch"
        raise Refused([Violation("uncommitted_changes", problem, fix)])
    name = _image_name(state, base)
    if (found := _id(engine, name, state.commit)) is None:
        with tempfile.TemporaryDirectory(prefix="image-") as folder:
            context = export(PROJECT_ROOT, state, Path(folder))
            if state.dirty:
                (context / PATCH).write_bytes(state.patch)
            arguments = _arguments(state, (context / LOCK).read_bytes()) | ({"BASE": base} if base else {})
            options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
            engine.do("build", "--target=train", f"--tag={name}", *options, str(context))
        found = _id(engine, name, state.commit)
        if found is None:
            problem = f"the image {name} does not carry the label {_COMMIT_LABEL} with the commit"
            raise Refused([Violation("Dockerfile", problem, "bring back its ARG, LABEL and `repro bake` lines")])
    return name, found


def _arguments(state: GitState, lock: bytes) -> Mapping[str, str]:
    return {
        "GIT_COMMIT": state.commit,
        "GIT_BRANCH": state.branch,
        "GIT_REMOTE": state.remote,
        "GIT_DIRTY": "true" if state.dirty else "false",
        "LOCK_DIGEST": digest(lock),
    }


def _image_name(state: GitState, base: str | None) -> str:
    """Return a name that only an image of the same commit, patch and base has."""
    more = [what for what in (state.patch, (base or "").encode()) if what]
    return f"{project_name(PROJECT_ROOT)}:" + "-".join(
        [state.commit[:12], *(digest(what).removeprefix("blake3:")[:8] for what in more)]
    )


def _id(engine: Engine, name: str, commit: str) -> str | None:
    """Return the id of the image *name*, None if there is none, or one that somebody built without its commit."""
    question = f'{{{{.Id}}}} {{{{index .Config.Labels "{_COMMIT_LABEL}"}}}}'
    found, _, its_commit = (engine.answer("image", "inspect", "--format", question, name) or "").partition(" ")
    return f"sha256:{found.removeprefix('sha256:')}" if its_commit == commit else None


def export(root: Path, state: GitState, into: Path) -> Path:
    """Write the project at *root* as *state* has it into the empty folder *into*; return its folder there.

    The files are what a clean checkout of the commit has, after `git apply` of the patch. The user's repository and
    work tree are only read. In a bigger repository nothing beside the project's folder is written.
    """
    into = into.resolve()
    top = Path(os.fsdecode(git(root, "rev-parse", "--show-toplevel")).removesuffix("\n"))
    project = os.fsdecode(git(root, "rev-parse", "--show-prefix")).removesuffix("\n")
    files, index = into / "files", {"GIT_INDEX_FILE": str(into / "index")}
    (files / project).mkdir(parents=True)
    git(top, "read-tree", state.commit, environment=index)
    inside = git(top, "ls-files", "-z", "--", project or ".", environment=index)
    git(top, "checkout-index", "-z", "--stdin", f"--prefix={files.as_posix()}/", stdin=inside, environment=index)
    if state.patch:
        # A folder for temporary files may lie in somebody's repository, which is not the one to apply it to.
        alone = {"GIT_CEILING_DIRECTORIES": str(into)}
        git(files, "apply", "--whitespace=nowarn", stdin=state.patch, environment=alone)
    return files / project


def bake(root: Path) -> None:
    """Write RECORD, as a step of the build, from GIT_COMMIT, GIT_BRANCH and GIT_REMOTE and from all files in *root*.

    Raises Refused when GIT_DIRTY or LOCK_DIGEST say something else than the files do.
    """
    given = {name: os.environ.get(name, "") for name in ("GIT_COMMIT", "GIT_BRANCH", "GIT_REMOTE")}
    record = ImageRecord(*given.values(), files=files_in(root, sorted(path.name for path in root.iterdir())))
    dirty = "true" if PATCH in record.files else "false"
    for name, found in (("GIT_DIRTY", dirty), ("LOCK_DIGEST", record.files[LOCK])):
        if os.environ.get(name, "") not in ("", found):
            raise Refused([Violation(name, f"it is {os.environ[name]!r}, but the files say {found}", BUILD_IT)])
    (root / RECORD).write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
