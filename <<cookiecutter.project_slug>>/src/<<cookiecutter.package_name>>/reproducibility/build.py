"""A build: an image of a commit, with the commit's provenance in it; never of the work tree itself."""

import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

from packaging.utils import canonicalize_name

from . import git, image
from .digest import digest
from .engine import Engine
from .environment import LOCK
from .export import export
from .progress import say
from .project import PROJECT_ROOT
from .violation import Refused, Violation

_COMMIT_LABEL = "org.opencontainers.image.revision"


def build(engine: Engine, *, snapshot: bool = False, base: str | None = None) -> tuple[str, str]:
    """Return name and id of the image of the project as it is; it is built, visibly, if there is none yet.

    base: the image to start from, instead of the one that the Dockerfile names.

    Raises Refused when the work tree differs from the commit and no *snapshot* of it is wanted, when git cannot tell,
    and when the engine fails.
    """
    say("looking at the commit ...")
    state = git.state(PROJECT_ROOT)
    if state.dirty and not snapshot:
        problem = "the work tree differs from the commit, and an image is built from a commit"
        fix = "commit the changes (git status lists them), or add --snapshot to build with them as a patch"
        raise Refused([Violation("uncommitted_changes", problem, fix)])
    name = _name(state, base)
    if (found := _id(engine, name, state.commit)) is None:
        with tempfile.TemporaryDirectory(prefix="image-") as folder:
            context = export(PROJECT_ROOT, state, Path(folder))
            if state.dirty:
                (context / image.PATCH).write_bytes(state.patch)
            arguments = _arguments(state, (context / LOCK).read_bytes()) | ({"BASE": base} if base else {})
            options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
            engine.do("build", "--target=train", f"--tag={name}", *options, str(context))
        found = _id(engine, name, state.commit)
        if found is None:
            problem = f"the image {name} does not carry the label {_COMMIT_LABEL} with the commit"
            raise Refused([Violation("Dockerfile", problem, "bring back its ARG, LABEL and `repro bake` lines")])
    return name, found


def _arguments(state: git.GitState, lock: bytes) -> Mapping[str, str]:
    return {
        "GIT_COMMIT": state.commit,
        "GIT_BRANCH": state.branch,
        "GIT_REMOTE": state.remote,
        "GIT_DIRTY": "true" if state.dirty else "false",
        "LOCK_DIGEST": digest(lock),
    }


def _name(state: git.GitState, base: str | None) -> str:
    """Return a name that only an image of the same commit, patch and base has."""
    with (PROJECT_ROOT / "pyproject.toml").open("rb") as file:
        project = canonicalize_name(tomllib.load(file)["project"]["name"])
    more = [what for what in (state.patch, (base or "").encode()) if what]
    return f"{project}:" + "-".join([state.commit[:12], *(digest(what).removeprefix("blake3:")[:8] for what in more)])


def _id(engine: Engine, name: str, commit: str) -> str | None:
    """Return the id of the image *name*, None if there is none, or one that somebody built without its commit."""
    question = f'{{{{.Id}}}} {{{{index .Config.Labels "{_COMMIT_LABEL}"}}}}'
    found, _, its_commit = (engine.answer("image", "inspect", "--format", question, name) or "").partition(" ")
    return f"sha256:{found.removeprefix('sha256:')}" if its_commit == commit else None
