"""The table: what was measured, against whom, with which aim, and whether it was reached; for people to read."""

import datetime
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .stopwatch import Timing


class Aim(Protocol):
    """What a ratio is measured against."""

    def judge(self, ours: float, theirs: float) -> tuple[str, str, bool]:
        """Return the ratio and the aim in words, and whether it is reached."""


@dataclass(frozen=True)
class AtMost:
    """Ours takes at most *limit* times what the peer takes."""

    limit: float

    def judge(self, ours: float, theirs: float) -> tuple[str, str, bool]:
        return f"{ours / theirs:.2f} of the peer's", f"at most {self.limit:g}", ours <= self.limit * theirs


@dataclass(frozen=True)
class Faster:
    """Ours is at least *times* as fast as the peer."""

    times: float

    def judge(self, ours: float, theirs: float) -> tuple[str, str, bool]:
        return f"{theirs / ours:,.1f} times as fast", f"at least {self.times:g}", theirs >= self.times * ours


@dataclass(frozen=True)
class AtMostSeconds:
    """Ours takes at most so many seconds, whatever the peer takes; or at most *part* of the peer's time."""

    limit: float
    part: float = 0

    def judge(self, ours: float, theirs: float) -> tuple[str, str, bool]:
        aim = f"at most {self.limit:g} s" + (f", or {self.part:g} of the peer's" if self.part else "")
        return f"{ours / theirs:.2f} of the peer's", aim, ours <= self.limit or ours <= self.part * theirs


@dataclass(frozen=True)
class All:
    """Ours are as many as the peer's: none is missing."""

    def judge(self, ours: float, theirs: float) -> tuple[str, str, bool]:
        return f"{ours:,} of {theirs:,}", "all", ours == theirs


@dataclass(frozen=True)
class Row:
    """One comparison, in seconds or as a count. Where `missing` says why, the peer or both were not measured."""

    what: str
    ours: Timing | int | None
    peer: str
    theirs: Timing | int | None = None
    aim: Aim | None = None
    missing: str = ""

    def cells(self) -> list[str]:
        if self.theirs is None:
            ours = "" if self.ours is None else str(self.ours)
            return [self.what, ours, f"{self.peer}: {self.missing}", "", "", "not measured"]
        ratio, aim, reached = (self.aim or AtMost(1)).judge(_number(self.ours), _number(self.theirs))
        verdict = ("reached" if reached else "**not reached**") if self.aim else ""
        return [self.what, str(self.ours), f"{self.peer}: {self.theirs}", ratio, aim if self.aim else "none", verdict]


def _number(value: Timing | int) -> float:
    return value.seconds if isinstance(value, Timing) else value


@dataclass(frozen=True)
class Section:
    """The rows of one subject, and in words how they were measured."""

    title: str
    method: str
    rows: list[Row]
    remarks: str = ""


_HEAD = """\
# How it compares

Written by `nox -s bench`; edit nothing here. Each time is the median of several rounds, with the fastest and the
slowest; in each round all sides of a comparison take turns. Trust the ratios, not the seconds.
"""


def to_markdown(sections: list[Section], before: str = "") -> str:
    """Return the document; of the document *before*, what *sections* do not measure anew stays as it was measured."""
    found = dict(part.split("\n", 1) for part in before.split("\n## ")[1:])
    found |= {section.title: _text(section) for section in sections}
    return _HEAD + "".join(f"\n## {title}\n{text.rstrip()}\n" for title, text in found.items())


def _text(section: Section) -> str:
    """Return a section without its title, with the machine and the day."""
    heads = ["what", "ours", "peer", "ratio", "aim", "reached"]
    lines = [heads, ["---"] * len(heads), *(row.cells() for row in section.rows)]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    measured = f"Measured on {datetime.date.today().isoformat()}: {machine()}."
    return "\n" + "\n\n".join([section.method, table, *filter(None, [section.remarks]), measured])


def machine() -> str:
    """The CPU, its cores, the memory, the operating system and the Python; nothing that names the machine itself."""
    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB memory, {platform.system()} {system_release()}, {python}"


def system_release() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.release()
