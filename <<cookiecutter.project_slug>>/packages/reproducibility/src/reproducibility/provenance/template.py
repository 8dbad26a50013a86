"""The template that a project was generated from, as its pyproject.toml notes it in [tool.cookiecutter]."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ..errors import refuse
from ..secrets import without_credentials

_NOTED = "pyproject.toml"
_TABLE = "[tool.cookiecutter]"
_ORIGIN = ("template", "commit")


@dataclass(frozen=True)
class Template:
    """Where a project comes from.

    address: where git fetches the template from, without credentials. commit: the full id of the commit that the
    project was generated from, or last updated to. Both are empty where the template did not know them.
    answers: what was answered to the questions of the template.
    """

    address: str
    commit: str
    answers: dict[str, str]

    def described(self) -> dict[str, str]:
        """Return address and commit as plain data."""
        return {"address": self.address, "commit": self.commit}


def template(root: Path) -> Template:
    """Return the template of the project at *root*; raises Refused when its pyproject.toml does not note one."""
    try:
        text = (root / _NOTED).read_text("utf-8")
    except (OSError, ValueError) as error:
        refuse(_NOTED, f"it cannot be read ({error})", f"git checkout {_NOTED}")
    return noted(text)


def noted(pyproject: str) -> Template:
    """Return the template that the text of a pyproject.toml notes; raises Refused when it notes none."""
    try:
        found = tomllib.loads(pyproject)["tool"]["cookiecutter"]
        answers = {key: value for key, value in found.items() if key not in _ORIGIN}
        address, commit = (found.get(key, "") for key in _ORIGIN)
        if not all(isinstance(value, str) for value in found.values()):
            raise TypeError("a value is no text")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"it has no table {_TABLE} with the answers that the project was generated from ({error})"
        refuse(_NOTED, problem, f"bring the table back: git log -p {_NOTED}")
    return Template(without_credentials(address), commit, answers)
