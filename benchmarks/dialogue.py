"""A side that is a process of its own: it gets one line, and answers with one line of JSON."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Dialogue:
    """`with Dialogue(name, command, env) as side:` the process lives inside the block."""

    def __init__(self, name: str, command: list[str | Path], env: Mapping[str, str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def ask(self, line: str) -> dict[str, Any]:
        """Return the answer to *line*; raises RuntimeError if the process ends instead."""
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the side {self.name!r} ended with status {self._process.wait()}")
        return json.loads(answer)

    def ended(self) -> int:
        """Wait until the process has ended by itself; return its status."""
        return self._process.wait(timeout=600)

    def __enter__(self) -> "Dialogue":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=600)
