"""A place: where a value of a configuration was written, the way a message names it."""

import os
from dataclasses import dataclass
from pathlib import Path

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """A file as shown to the reader and a line from 1; or an override as it was given and the path it sets."""

    source: str
    line: int | None = None
    sets: KeyPath | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


Marks = dict[KeyPath, Place]


def dotted(path: KeyPath) -> str:
    """Return a path the way people write it: ``model.layers[2].size``; empty for the top level."""
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f"{'.' if name else ''}{one_line(part)}"
    return name


def key_of(place: Place | str, path: KeyPath) -> str:
    """Return the key of a violation: ``configs/experiment.yaml:7: model.max_depth``."""
    return f"{place}: {dotted(path)}" if path else str(place)


def one_line(text: str, limit: int = 60) -> str:
    """Return *text* fit for one line of a message: control characters escaped, cut after *limit* characters."""
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= limit else f"{line[:limit]}..."


def shown_path(path: Path) -> str:
    """Return *path* relative to the current directory where it is inside it, else absolute, with forward slashes."""
    absolute = Path(os.path.abspath(path))
    here = Path.cwd()
    return one_line((absolute.relative_to(here) if absolute.is_relative_to(here) else absolute).as_posix(), 300)
