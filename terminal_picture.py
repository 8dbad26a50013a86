"""Draw what a command printed as it looks in a terminal: python terminal_picture.py TITLE OUTPUT FILE.svg"""

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 80  # columns


def main(title: str, output: str, file: str) -> None:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(Path(output).read_text("utf-8")))
    console.save_svg(file, title=title)


if __name__ == "__main__":
    main(*sys.argv[1:])
