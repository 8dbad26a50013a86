"""Measure everything and write benchmarks/RESULTS.md: python -m benchmarks"""

import tempfile
from pathlib import Path

from . import container, data_version, diff, gate, generation, tracked_run
from .stopwatch import say
from .table import to_markdown
from .workshop import Workshop

RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        workshop = Workshop(Path(scratch))
        sections = [part.measure(workshop) for part in (tracked_run, gate, data_version, diff, generation, container)]
    text = to_markdown(sections)
    RESULTS.write_text(text, encoding="utf-8")
    say(f"\n{text}\nwritten to {RESULTS.relative_to(Path.cwd())}")


main()
