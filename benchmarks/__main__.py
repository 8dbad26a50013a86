"""Measure everything and write benchmarks/RESULTS.md: python -m benchmarks"""

import tempfile
from pathlib import Path

from . import container, data_version, diff, gate, generation, reproduction, tracked_run
from .stopwatch import say
from .table import to_markdown
from .workshop import Workshop

PARTS = (tracked_run, gate, data_version, reproduction, diff, generation, container)
RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        workshop = Workshop(Path(scratch))
        sections = [part.measure(workshop) for part in PARTS]
    text = to_markdown(sections)
    RESULTS.write_text(text, encoding="utf-8")
    say(f"\n{text}\nwritten to {RESULTS.relative_to(Path.cwd())}")


main()
