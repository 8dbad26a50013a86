"""The byte code of packages: compiled in one environment, and used in every other that has the same files.

Compiling MLflow, scikit-learn and what they import costs 13 seconds of CPU for each environment. uv links the files of
one package into every environment, so their byte code is the same, and Python compares a file with its byte code
before it uses this: a package of another version is compiled for itself.
"""

import os
from pathlib import Path


def join(prefix: Path, compiled: Path, environment: Path) -> None:
    """Let *environment* keep its byte code in *prefix* (PYTHONPYCACHEPREFIX) together with that of *compiled*."""
    shared, own = (prefix / each.relative_to(each.anchor) / "lib" for each in (compiled, environment))
    shared.mkdir(parents=True, exist_ok=True)
    own.parent.mkdir(parents=True, exist_ok=True)
    own.symlink_to(shared, target_is_directory=True)


def put_beside(prefix: Path, compiled: Path, environment: Path) -> None:
    """Put the byte code that *prefix* has of the modules of *compiled* beside the modules of *environment*."""
    made = prefix / compiled.relative_to(compiled.anchor)
    for folder, _, files in os.walk(made):
        beside = environment / Path(folder).relative_to(made)
        if files and beside.is_dir():
            (beside / "__pycache__").mkdir(exist_ok=True)
            for file in set(files).difference(os.listdir(beside / "__pycache__")):
                os.link(Path(folder, file), beside / "__pycache__" / file)
