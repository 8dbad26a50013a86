"""An image: built from a commit, with the commit's provenance in it; never from the work tree itself."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from ..digest import digest
from ..display import say
from ..errors import refuse
from ..git.command import git, work_tree
from ..git.state import GitState, git_state
from ..lockfile import LOCK
from ..project import PROJECT_ROOT, project_name
from ..provenance.code import BUILD_IT, PATCH, RECORD, ImageRecord, files_in
from ..provenance.gather import author_or_none
from .engine import Program
from .indexes import indexes
from .packages import packages_image

_DATA = "data"
_COMMIT_LABEL = "org.opencontainers.image.revision"


def build(
    engine: Program, *, snapshot: bool = False, base: str | None = None, packages: Path | None = None
) -> tuple[str, str]:
    """Return name and id of the image of the project's commit; build the image, visibly, if there is none yet.

    snapshot: add uncommitted changes as a patch. base: the image to start from, instead of the Dockerfile's.
    packages: the folder that keeps the image of the locked packages.

    Raises Refused when there are uncommitted changes and no *snapshot* is wanted, and when git or the engine fails.
    """
    say("reading the commit ...")
    state = git_state(PROJECT_ROOT)
    if state.dirty and not snapshot:
        problem = "the work tree differs from the commit, and an image is built from a commit"
        fix = "commit the changes (git status lists them), or add --snapshot to build with them as a patch"
        refuse("uncommitted_changes", problem, fix)
    name = _image_name(state, base)
    if (found := _id(engine, name, state.commit)) is None:
        with tempfile.TemporaryDirectory(prefix="image-") as folder:
            context = export(PROJECT_ROOT, state, Path(folder))
            if state.dirty:
                (context / PATCH).write_bytes(state.patch)
            _let_data_in(context)
            start = [f"--build-arg=BASE={base}"] if base else []
            secret = _index_options(Path(folder))
            if packages is not None:
                made = packages_image(engine, context, base, packages, [*start, *secret])
                start = [f"--build-arg=BASE={made}"]
            arguments = _arguments(state, (context / LOCK).read_bytes())
            options = [*start, *secret, *(f"--build-arg={key}={value}" for key, value in arguments.items())]
            engine.do("build", "--target=train", f"--tag={name}", *options, str(context))
        found = _id(engine, name, state.commit)
        if found is None:
            problem = f"the image {name} does not carry the label {_COMMIT_LABEL} with the commit"
            refuse("Dockerfile", problem, "bring back its ARG, LABEL and `repro bake` lines")
    return name, found


def _let_data_in(context: Path) -> None:
    """Let all of data/ into the image: an exported commit has there what git has, and nothing by chance."""
    with (context / ".dockerignore").open("a", encoding="utf-8") as ignored:
        ignored.write(f"\n!{_DATA}\n")


def _index_options(folder: Path) -> list[str]:
    """Return the options with which a build reaches the package indexes of this environment.

    Their addresses may have passwords: they lie in *folder*, beside the context, and are a secret of the build.
    """
    if not (found := indexes(os.environ)):
        return []
    secret = folder / "pip.conf"
    secret.write_text(found.pip_settings, "utf-8")
    return [f"--secret=id=pip,src={secret}", *(["--network=host"] if found.on_this_machine else [])]


def _arguments(state: GitState, lock: bytes) -> Mapping[str, str]:
    return {
        "GIT_COMMIT": state.commit,
        "GIT_BRANCH": state.branch,
        "GIT_REMOTE": state.remote,
        "GIT_DIRTY": "true" if state.dirty else "false",
        "LOCK_DIGEST": digest(lock),
        "BUILDER": author_or_none() or "",
    }


def _image_name(state: GitState, base: str | None) -> str:
    """Return a name that only an image of the same commit, patch and base has."""
    digests = [digest(part).removeprefix("blake3:")[:8] for part in (state.patch, (base or "").encode()) if part]
    return f"{project_name(PROJECT_ROOT)}:{'-'.join([state.commit[:12], *digests])}"


def _id(engine: Program, name: str, commit: str) -> str | None:
    """Return the id of the image *name*; None if there is none, or if the image is not labelled with *commit*."""
    question = f'{{{{.Id}}}} {{{{index .Config.Labels "{_COMMIT_LABEL}"}}}}'
    found, _, its_commit = (engine.answer("image", "inspect", "--format", question, name) or "").partition(" ")
    return f"sha256:{found.removeprefix('sha256:')}" if its_commit == commit else None


def export(root: Path, state: GitState, into: Path) -> Path:
    """Write the project at *root* as *state* has it into the empty folder *into*; return its folder there.

    The files are those of a clean checkout of the commit, after `git apply` of the patch. The user's repository and
    work tree are only read. Where the project is a folder of a bigger repository, only that folder is written.
    """
    into = into.resolve()
    tree = work_tree(root)
    top, project = tree.top, tree.project
    files, index = into / "files", {"GIT_INDEX_FILE": str(into / "index")}
    (files / project).mkdir(parents=True)
    git(top, "read-tree", state.commit, environment=index)
    inside = git(top, "ls-files", "-z", "--", project, environment=index)
    git(top, "checkout-index", "-z", "--stdin", f"--prefix={files.as_posix()}/", stdin=inside, environment=index)
    if state.patch:
        # The folder for temporary files may lie in another repository: git must not find that one.
        ceiling = {"GIT_CEILING_DIRECTORIES": str(into)}
        git(files, "apply", "--whitespace=nowarn", stdin=state.patch, environment=ceiling)
    return files / project


def bake(root: Path) -> None:
    """Write the image's record, as a step of the build: commit, branch, remote, builder and the code in *root*.

    The first four come from the variables GIT_COMMIT, GIT_BRANCH, GIT_REMOTE and BUILDER. The data is left out, because
    other data may be mounted over it. Raises Refused when GIT_DIRTY or LOCK_DIGEST contradict the files.
    """
    given = {name: os.environ.get(name, "") for name in ("GIT_COMMIT", "GIT_BRANCH", "GIT_REMOTE")}
    files = files_in(root, sorted(path.name for path in root.iterdir() if path.name != _DATA))
    record = ImageRecord(*given.values(), files=files, builder=os.environ.get("BUILDER", ""))
    dirty = "true" if PATCH in record.files else "false"
    for name, found in (("GIT_DIRTY", dirty), ("LOCK_DIGEST", record.files[LOCK])):
        if os.environ.get(name, "") not in ("", found):
            refuse(name, f"it is {os.environ[name]!r}, but the files say {found}", BUILD_IT)
    (root / RECORD).write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
