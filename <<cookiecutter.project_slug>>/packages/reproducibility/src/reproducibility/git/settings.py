"""The settings of git that a run records: who works here, and where the repository's remote is."""

import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from ..secrets import without_credentials
from .command import git_line, readable_text

_WANTED = r"^((author|user)\.(name|email)|remote\..*\.url|url\..*\.insteadof)$"
_REMOTE = re.compile(r"remote\.(.*)\.url", re.DOTALL)
_REWRITE = re.compile(r"url\.(.*)\.insteadof", re.DOTALL)


class Settings:
    """What git's configuration says about the project at *root*: read by one command, when it is first asked."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def _settings(self) -> list[tuple[str, str]]:
        """Key and value of each setting, in git's order: the user's, then the repository's."""
        text = git_line(self._root, "config", "--null", "--get-regexp", _WANTED) or ""
        return [(key, value) for key, _, value in (line.partition("\n") for line in text.split("\0"))]

    @property
    def author(self) -> str | None:
        """Who works here, as ``name <email>``: from GIT_AUTHOR_NAME and GIT_AUTHOR_EMAIL, else the configuration.

        None when one of the two is not set; git's own guess from login and host name is never used.
        """
        values = dict(self._settings)  # the last one counts
        found = []
        for part in ("name", "email"):
            own = os.environ.get(f"GIT_AUTHOR_{part.upper()}")
            value = own or values.get(f"author.{part}") or values.get(f"user.{part}") or ""
            found.append(" ".join(value.split()))
        name, email = found
        return f"{name} <{email}>" if name and email else None

    @property
    def remote(self) -> str:
        """Where git fetches ``origin`` from, else the first remote, without credentials; ``none`` without a remote."""
        urls: dict[str, str] = {}
        for name, url in self._matching(_REMOTE):
            if url:
                urls.setdefault(name, url)  # of several, git fetches from the first
        if not urls:
            return "none"
        return readable_text(without_credentials(self._rewritten(urls["origin" if "origin" in urls else min(urls)])))

    def _rewritten(self, url: str) -> str:
        """Return what git fetches from instead of *url*: of the rules `url.<base>.insteadOf`, the longest that fits."""
        fitting = [(beginning, base) for base, beginning in self._matching(_REWRITE) if url.startswith(beginning)]
        beginning, base = max(fitting, key=lambda rule: len(rule[0]), default=("", ""))
        return base + url.removeprefix(beginning)

    def _matching(self, key: re.Pattern[str]) -> Iterator[tuple[str, str]]:
        """Yield the name inside each *key*, and the value."""
        return ((found[1], value) for name, value in self._settings if (found := key.fullmatch(name)))
