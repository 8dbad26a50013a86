"""A blob: the bytes of one file as git names and keeps them."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from .git_command import run


def blob_id(content: bytes, like: str) -> str:
    """Return the name git gives *content* stored as it is, in the hash of the name *like* (SHA-1 or SHA-256)."""
    algorithm = "sha1" if len(like) == 40 else "sha256"
    return hashlib.new(algorithm, b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


def bytes_on_disk(path: Path) -> bytes:
    """Return what git would keep for *path* if nothing converted it: a file's bytes, a symbolic link's target."""
    return os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()


def blob_sizes(top: Path, names: Iterable[str], environment: Mapping[str, str]) -> list[int]:
    """Return the size in bytes of each blob in *names*, in order, without reading one."""
    asked = "".join(f"{name}\n" for name in names).encode()
    answered = run(top, "cat-file", "--batch-check=%(objectsize)", stdin=asked, environment=environment)
    return [int(size) for size in answered.split()]


def blobs(top: Path, names: Iterable[str], environment: Mapping[str, str]) -> dict[str, bytes]:
    """Return the content of each blob in *names*."""
    names = list(names)
    asked = "".join(f"{name}\n" for name in names).encode()
    output = run(top, "cat-file", "--batch=%(objectsize)", stdin=asked, environment=environment)
    contents, start = {}, 0
    for name in names:
        size, _, _ = output[start : start + 20].partition(b"\n")
        start += len(size) + 1
        contents[name] = output[start : start + int(size)]
        start += int(size) + 1
    return contents
