"""An entry of a journal: one thing that a run said, as a line of a log and in the form of MLflow's requests.

{"log": {"metrics": [...], "params": {...}, "tags": {...}}}    what is sent in batches
{"file": name of the copy, "of": id of the run or the model, "to": path among its files}
{"path": ..., "method": ..., "body": ...}                      any other request
{"end": {"status": ..., "end_time": ...}}
"""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:
    from mlflow.entities import Metric

encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def as_line(entry: Mapping[str, Any]) -> bytes:
    """Return *entry* as one line: its checksum, a space, JSON."""
    body = encode(entry).encode("ascii")
    return b"%08x %b\n" % (crc32(body), body)


def in_line(line: bytes) -> dict[str, Any] | None:
    """Return the entry in *line*; None if the line is not what was written."""
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    try:
        return json.loads(body) if int(checksum, 16) == crc32(body) else None
    except ValueError:
        return None


def size(entry: Mapping[str, Any]) -> int:
    """Return how many things an entry says: each point, param and tag counts, and everything else is one."""
    return sum(len(items) for items in entry["log"].values()) if "log" in entry else 1


def point(metric: "Metric") -> dict[str, Any]:
    """Return *metric* as MLflow's requests have it; JSON has no NaN and no infinity, so they are text there."""
    value = float(metric.value)
    said = {
        "key": metric.key,
        "value": value if math.isfinite(value) else {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)],
        "timestamp": metric.timestamp,
        "step": metric.step,
    }
    more = {name: getattr(metric, name) for name in ("model_id", "dataset_name", "dataset_digest", "run_id")}
    return said | {name: value for name, value in more.items() if value is not None}
