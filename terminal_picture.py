"""Draw what a command printed as it looks in a terminal: python terminal_picture.py TITLE OUTPUT FILE.svg"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 80  # columns
FONT = re.compile(r"@font-face \{.*?\}", re.DOTALL)  # rich lets the viewer fetch fonts


def main(title: str, output: str, file: str) -> None:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(Path(output).read_text("utf-8")))
    picture = FONT.sub("", console.export_svg(title=title, unique_id="terminal"))
    Path(file).write_text("\n".join(filter(str.strip, picture.splitlines())) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
