"""Measure and write benchmarks/RESULTS.md: python -m benchmarks [PART ...]

Without a PART, a module of this folder, everything is measured. What is not measured stays as it stands there. With
--smoke nothing is written: each benchmark runs once, on little data and without the peers that would have to be
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
    parts = {part.__name__.rpartition(".")[2]: part for part in PARTS}
    if unknown := set(arguments) - {"--smoke"} - parts.keys():
        raise SystemExit(f"{' '.join(unknown)} is unknown: say --smoke, or one of {', '.join(parts)}")
    chosen = [part for name, part in parts.items() if name in arguments] or PARTS
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        workshop = Workshop(Path(scratch), smoke="--smoke" in arguments)
        sections = [part.measure(workshop) for part in chosen]
    text = to_markdown(sections, RESULTS.read_text("utf-8"))
    say(f"\n{text}")
    if not workshop.smoke:
        RESULTS.write_text(text, encoding="utf-8")
        say(f"written to {RESULTS.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main(sys.argv[1:])
