"""A pull request: what GitHub tells a workflow about the one that started it, and which run its text names.

Everything in it is written by whoever opened it. It is data here: it reaches no shell, and an id has to look like one.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..display import one_line
from ..errors import Refused, Violation

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_LONGEST = 65_536  # characters of a text on GitHub
# What the line of the template may be dressed in: `Run: 3f2a`, `- **Run:** 3f2a`, run: `3f2a`.
_DRESS = " \t*_+-`"
_TEMPLATE = "write the run's id behind `Run:` in the pull request's text, as its template has it"


@dataclass(frozen=True)
class PullRequest:
    """What is under review. None stands for what the event does not say: a push has no text and names no run.

    head: the commit to look at. base: the commit of the branch that it goes to. text: what its author wrote.
    """

    head: str | None
    base: str | None
    text: str | None


def read_event(event: Path) -> PullRequest:
    """Return what the file *event* says, which GitHub Actions names in GITHUB_EVENT_PATH; raises Refused."""
    try:
        told = json.loads(event.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        problem = f"{one_line(str(event), 200)} cannot be read ({getattr(error, 'strerror', None) or 'it is no JSON'})"
        raise Refused([Violation("--event", problem, "name the file that GITHUB_EVENT_PATH does")]) from None
    request = _part(told, "pull_request")
    if not request:
        if (pushed := _commit(_part(told).get("after"))) is None:
            problem = f"{one_line(str(event), 200)} tells of no pull request and of no push"
            raise Refused([Violation("--event", problem, "name the file that GITHUB_EVENT_PATH does")])
        return PullRequest(pushed, None, None)
    text = request.get("body")
    return PullRequest(
        _commit(_part(request, "head").get("sha")),
        _commit(_part(request, "base").get("sha")),
        text if isinstance(text, str) else "",
    )


def named_run(text: str) -> str:
    """Return the id of the run that a pull request's *text* names in its line ``Run:``; raises Refused."""
    named = []
    for line in _without_comments(text[:_LONGEST]).splitlines():
        head, _, rest = line.partition(":")
        if head.strip(_DRESS).casefold() == "run" and (word := rest.strip(_DRESS)):
            named.append(word)
    if not named:
        raise Refused([Violation("run", "the pull request names no run", _TEMPLATE)])
    if len(set(named)) > 1:
        raise Refused([Violation("run", f"the pull request names {len(set(named))} runs", "name one")])
    if not _RUN_ID.fullmatch(named[0]):
        problem = f"the pull request names {one_line(named[0], 40)!r}, which is no run id (32 hexadecimal digits)"
        raise Refused([Violation("run", problem, _TEMPLATE)])
    return named[0]


def _without_comments(text: str) -> str:
    kept = []
    while text:
        before, _, rest = text.partition("<!--")
        kept.append(before)
        text = rest.partition("-->")[2]
    return "".join(kept)


def _part(told: Any, name: str | None = None) -> dict[str, Any]:
    part = told.get(name) if name and isinstance(told, dict) else told
    return part if isinstance(part, dict) else {}


def _commit(told: Any) -> str | None:
    return told if isinstance(told, str) and _COMMIT.fullmatch(told) and told.strip("0") else None
