"""The machinery of a rendered project, asked one expression at a time in the project's own environment."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

_ANSWER = """
import json, os, sys
from dataclasses import asdict, fields, is_dataclass
from importlib import import_module
from pathlib import Path

asked = json.loads(sys.argv[1])
package = next(Path(asked["src"]).glob("*/reproducibility")).parent.name
names = {name: import_module(f"reproducibility.{name}") for name in asked["modules"]}
names |= {"Path": Path, "os": os} | {name: Path(path) for name, path in asked["paths"].items()} | asked["values"]
Refused = import_module(f"reproducibility.errors").Refused

def plain(value):
    if hasattr(value, "_asdict"):
        return value._asdict()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value

if asked["before"]:
    exec(asked["before"], names)
try:
    said = {"value": plain(eval(asked["expression"], names))}
except Refused as refused:
    said = {"refused": [asdict(violation) for violation in refused.violations]}
json.dump(said, sys.stdout)
"""


class Refusal(Exception):
    """What the machinery's own Refused carried over from the other process: violations as key, problem and fix."""

    def __init__(self, violations: list[dict[str, str]]) -> None:
        super().__init__(*(f"{each['key']}: {each['problem']}. {each['fix']}" for each in violations))
        self.violations = violations
        self.keys = [each["key"] for each in violations]


class Machinery:
    """Evaluates expressions over the machinery's modules; bytes come back as latin-1 text, dataclasses as dicts."""

    def __init__(self, run_in: Callable[..., CompletedProcess[str]], project: Path) -> None:
        self._run_in, self._project = run_in, project

    def __call__(
        self,
        expression: str,
        *,
        env: Mapping[str, str | None] | None = None,
        before: str = "",
        values: Mapping[str, Any] | None = None,
        **paths: Path,
    ) -> Any:
        """Return the value of *expression*, in which modules, *paths* and *values* are known by name.

        *before* is a statement run first. Raises Refusal when the machinery refuses.
        """
        modules = [path.stem for path in self._project.glob("src/*/reproducibility/*.py")]
        asked = {
            "src": str(self._project / "src"),
            "modules": [name for name in modules if f"{name}." in expression + before],
            "paths": {name: str(path) for name, path in paths.items()},
            "values": dict(values or {}),
            "expression": expression,
            "before": before,
        }
        done = self._run_in(self._project, "python", "-c", _ANSWER, json.dumps(asked), env=env, timeout=120)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        if "refused" in said:
            raise Refusal(said["refused"])
        return said["value"]
