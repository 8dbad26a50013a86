"""The content of a file or a model, as a digest without what differs between any two runs: ids, times, addresses."""

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

from ..digest import digest

# Fields of MLflow's file MLmodel.
_OF_ONE_RUN = ("artifact_path", "model_id", "model_size_bytes", "model_uuid", "run_id", "utc_time_created")
_ENVIRONMENTS = ("conda.yaml", "python_env.yaml")
_INSTALLER = re.compile(r"(pip|python|setuptools|wheel)\s*[=<>!~].*")
_PYTHON = ("python", "python_version")
_GZIP = b"\x1f\x8b"


def content_digest(path: Path) -> str:
    """Return the digest of the content of the file *path*: ``blake3:`` and 64 hexadecimal digits."""
    # A file that is not what its name or its first bytes promise is compared byte by byte.
    try:
        if path.name == "MLmodel":
            fields = dict(yaml.safe_load(path.read_bytes()))
            return _digest(_without_versions({key: fields[key] for key in fields if key not in _OF_ONE_RUN}))
        if path.name in _ENVIRONMENTS and path.with_name("MLmodel").exists():
            return _digest(_without_versions(yaml.safe_load(path.read_bytes())))
        with path.open("rb") as stream:
            is_gzip = stream.read(2) == _GZIP
        if is_gzip:
            return digest(gzip.decompress(path.read_bytes()))
        if zipfile.is_zipfile(path):
            return _of_zip(path)
    except (ValueError, TypeError, KeyError, OSError, EOFError, RuntimeError):
        pass
    except (yaml.YAMLError, zipfile.BadZipFile, zlib.error):
        pass
    hasher = blake3(max_threads=blake3.AUTO)
    if path.stat().st_size:  # an empty file cannot be mapped
        hasher.update_mmap(path)
    return f"blake3:{hasher.hexdigest()}"


def folder_digest(folder: Path, files: Iterable[str]) -> str:
    """Return the digest of the names and contents of *files*, posix paths in *folder*: of a whole model."""
    return _digest([[name, content_digest(folder / name)] for name in sorted(files)])


def _digest(value: Any) -> str:
    return digest(json.dumps(value, sort_keys=True, default=str).encode())


def _without_versions(value: Any) -> Any:
    """Return *value* without the version of Python, and with only the name of each installer."""
    if isinstance(value, dict):
        # A flavor is called python_function, and a key called python may hold something else than a version.
        kept = {key: inner for key, inner in value.items() if not (key in _PYTHON and isinstance(inner, str))}
        return {key: _without_versions(inner) for key, inner in kept.items()}
    if isinstance(value, list):
        return [_without_versions(inner) for inner in value]
    return found[1] if isinstance(value, str) and (found := _INSTALLER.fullmatch(value)) else value


def _of_zip(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        digests = {name: digest(archive.read(name)) for name in archive.namelist()}
        if path.suffix == ".skops":
            schema = io.BytesIO(archive.read("schema.json"))
            # The arrays are in the tree, by their digests.
            return _digest(json.load(schema, object_hook=lambda node: _without_address(node, digests)))
    return _digest(sorted(digests.items()))


def _without_address(node: dict[str, Any], digests: dict[str, str]) -> dict[str, Any]:
    """Return a node of skops' tree without its memory address, and with the digest of an array for its file name."""
    if isinstance(node.get("__id__"), int):
        del node["__id__"]
    if isinstance(node.get("file"), str):
        node["file"] = digests.get(node["file"], node["file"])
    return node
