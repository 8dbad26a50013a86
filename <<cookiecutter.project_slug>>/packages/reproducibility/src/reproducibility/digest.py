"""Digests: the one way to turn bytes and plain data into `blake3:<64 hex>`."""

import json
from typing import Any

from blake3 import blake3

PREFIX = "blake3:"


def digest(data: bytes) -> str:
    """Return ``blake3:`` and 64 hexadecimal digits for *data*."""
    return f"{PREFIX}{blake3(data).hexdigest()}"


def canonical(value: Any) -> bytes:
    """Return plain data (dicts, lists, text, finite numbers, booleans, None) as canonical UTF-8 JSON.

    Equal data gives equal bytes on every platform and Python version. Raises ValueError for NaN and infinities.
    File names that are not UTF-8 keep their bytes (surrogateescape).
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "surrogateescape")
