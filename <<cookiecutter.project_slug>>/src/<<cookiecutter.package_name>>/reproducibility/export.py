"""An export: the files of a commit, and of the patch on it, in a folder where nothing else is."""

import os
from pathlib import Path

from .git import GitState
from .git_command import run


def export(root: Path, state: GitState, into: Path) -> Path:
    """Write the project at *root* as *state* has it into the empty folder *into*; return its folder there.

    The files are what a clean checkout of the commit has, after `git apply` of the patch. The user's repository and
    work tree are only read. In a bigger repository nothing beside the project's folder is written.
    """
    into = into.resolve()
    top = Path(os.fsdecode(run(root, "rev-parse", "--show-toplevel")).removesuffix("\n"))
    project = os.fsdecode(run(root, "rev-parse", "--show-prefix")).removesuffix("\n")
    files, index = into / "files", {"GIT_INDEX_FILE": str(into / "index")}
    (files / project).mkdir(parents=True)
    run(top, "read-tree", state.commit, environment=index)
    inside = run(top, "ls-files", "-z", "--", project or ".", environment=index)
    run(top, "checkout-index", "-z", "--stdin", f"--prefix={files.as_posix()}/", stdin=inside, environment=index)
    if state.patch:
        # A folder for temporary files may lie in somebody's repository, which is not the one to apply it to.
        alone = {"GIT_CEILING_DIRECTORIES": str(into)}
        run(files, "apply", "--whitespace=nowarn", stdin=state.patch, environment=alone)
    return files / project
