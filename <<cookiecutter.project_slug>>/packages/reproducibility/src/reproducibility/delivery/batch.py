"""A batch: entries of a journal that the server gets in one request."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What MLflow takes in one request.
MOST = {"metrics": 1000, "params": 100, "tags": 100}
_MOST_IN_ALL = 1000


class Batch:
    """Entries that are sent in one request. offset: where the log goes on behind them.

    Files and other requests between these entries are sent before the batch, so that they do not cut the batch in two.
    files: the copies of these files, which are kept until the batch was sent: after an outage all of it is sent again.
    """

    def __init__(self) -> None:
        self.metrics: list[Any] = []
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.files: list[Path] = []
        self.file_bytes = 0
        self.offset = 0

    @property
    def size(self) -> int:
        return len(self.metrics) + len(self.params) + len(self.tags)

    def takes(self, log: Mapping[str, Any]) -> bool:
        """Whether *log* fits in. MLflow refuses a batch with two values of one param."""
        params = log.get("params", {})
        counts = {
            "metrics": len(self.metrics) + len(log.get("metrics", ())),
            "params": len(self.params) + len(params),
            "tags": len(self.tags) + len(log.get("tags", {})),
        }
        fits = all(counts[kind] <= most for kind, most in MOST.items()) and sum(counts.values()) <= _MOST_IN_ALL
        return fits and all(self.params.get(key, value) == value for key, value in params.items())

    def add(self, log: Mapping[str, Any], offset: int) -> None:
        self.metrics += log.get("metrics", ())
        self.params |= log.get("params", {})
        self.tags |= log.get("tags", {})  # of two values of one tag the later one counts
        self.offset = offset

    def pass_over(self, copy: Path | None, offset: int) -> None:
        """Go on behind a file, whose copy this is, or behind another request. It was sent."""
        if copy is not None:
            self.files.append(copy)
            self.file_bytes += copy.stat().st_size
        self.offset = offset

    def items(self) -> list[tuple[str, Any]]:
        """Return everything as (kind, item), in the form that MLflow takes."""
        return [
            *(("metrics", metric) for metric in self.metrics),
            *(("params", pair) for pair in pairs(self.params)),
            *(("tags", pair) for pair in pairs(self.tags)),
        ]


def pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Return *values* in the form that MLflow takes params and tags in."""
    return [{"key": key, "value": value} for key, value in values.items()]
