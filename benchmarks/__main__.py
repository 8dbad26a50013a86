"""Measure everything and write benchmarks/RESULTS.md: python -m benchmarks

With --smoke nothing is written: each benchmark runs once, on little data and without the peers that would have to be
installed, to show that it still runs.
"""

import sys
import tempfile
from pathlib import Path

from . import PARTS
from .stopwatch import say
from .table import to_markdown
from .workshop import Workshop

RESULTS = Path(__file__).with_name("RESULTS.md")


def main(arguments: list[str]) -> None:
    if unknown := set(arguments) - {"--smoke"}:
        raise SystemExit(f"{' '.join(unknown)} is unknown: leave it out, or say --smoke")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        workshop = Workshop(Path(scratch), smoke="--smoke" in arguments)
        sections = [part.measure(workshop) for part in PARTS]
    text = to_markdown(sections)
    say(f"\n{text}")
    if not workshop.smoke:
        RESULTS.write_text(text, encoding="utf-8")
        say(f"written to {RESULTS.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main(sys.argv[1:])
