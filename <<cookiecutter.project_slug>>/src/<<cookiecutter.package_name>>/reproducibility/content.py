"""The content of a file that a run put out: what is left of it without what differs between any two runs.

Most files are compared as they are. Left out, and nothing else, is:

- of `MLmodel`: the ids of the run and the model, the place, the time, and the size on the disk, which the ids change;
- of `MLmodel`, `python_env.yaml` and `conda.yaml`: the version of Python, which is no result; both runs tell their own;
- of the last two: the versions of pip, setuptools and wheel, which made the environment and are in it or not, as the
  case may be; what the model needs is in its requirements;
- of zip and gzip files (`.skops`, `.npz`, `.pt`, `.csv.gz`): the times of their entries and how they are packed;
- of `.skops` files: the memory addresses that skops names objects and arrays by.
"""

import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from blake3 import blake3

from .digest import digest

_OF_ONE_RUN = ("artifact_path", "model_id", "model_size_bytes", "model_uuid", "run_id", "utc_time_created")
_ENVIRONMENTS = ("conda.yaml", "python_env.yaml")
_INSTALLER = re.compile(r"(pip|python|setuptools|wheel)\s*[=<>!~].*")
_PYTHON = ("python", "python_version")
_GZIP = b"\x1f\x8b"


def content_digest(path: Path) -> str:
    """Return the digest of the content of the file *path*: ``blake3:`` and 64 hexadecimal digits."""
    # A file that is not what its name or its first bytes say is compared as it is.
    try:
        if path.name == "MLmodel":
            return _of_model(path)
        if path.name in _ENVIRONMENTS and path.with_name("MLmodel").exists():
            return digest(_plain(_lasting(yaml.safe_load(path.read_bytes()))))
        with path.open("rb") as stream:
            is_gzip = stream.read(2) == _GZIP
        if is_gzip:
            return digest(gzip.decompress(path.read_bytes()))
        if zipfile.is_zipfile(path):
            return _of_zip(path)
    except (ValueError, OSError, EOFError, RuntimeError, yaml.YAMLError, zipfile.BadZipFile, zlib.error):
        pass
    hasher = blake3(max_threads=blake3.AUTO)
    if path.stat().st_size:  # an empty file cannot be mapped
        hasher.update_mmap(path)
    return f"blake3:{hasher.hexdigest()}"


def folder_digest(folder: Path, files: Iterable[str]) -> str:
    """Return the digest of the names and contents of *files*, posix paths in *folder*: of a whole model."""
    return digest(_plain([[name, content_digest(folder / name)] for name in sorted(files)]))


def _of_model(path: Path) -> str:
    fields = yaml.safe_load(path.read_bytes())
    return digest(_plain(_lasting({name: value for name, value in dict(fields).items() if name not in _OF_ONE_RUN})))


def _lasting(value: Any) -> Any:
    """Return *value* without the version of Python, and of each installer that is listed in it only the name."""
    if isinstance(value, dict):
        # Among others there is a flavor called python_function, and a key called python that holds no version.
        return {key: _lasting(inner) for key, inner in value.items() if not (key in _PYTHON and isinstance(inner, str))}
    if isinstance(value, list):
        return [_lasting(inner) for inner in value]
    return found[1] if isinstance(value, str) and (found := _INSTALLER.fullmatch(value)) else value


def _of_zip(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        digests = {name: digest(archive.read(name)) for name in archive.namelist()}
        if path.suffix == ".skops":
            tree = json.load(io.BytesIO(archive.read("schema.json")), object_hook=lambda node: _unplaced(node, digests))
            # The arrays stand in the tree, by their digests.
            return digest(_plain(tree))
    return digest(_plain(sorted(digests.items())))


def _unplaced(node: dict[str, Any], digests: dict[str, str]) -> dict[str, Any]:
    """Return a node of skops' tree without its address, and with an array's digest for its name."""
    if isinstance(node.get("__id__"), int):
        del node["__id__"]
    if isinstance(node.get("file"), str):
        node["file"] = digests.get(node["file"], node["file"])
    return node


def _plain(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()
