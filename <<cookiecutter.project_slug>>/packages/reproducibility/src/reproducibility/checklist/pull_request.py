"""A pull request: what GitHub tells the workflow that it started, and which run the pull request's text names.

The author of a pull request writes all of it. Here it is data: it reaches no shell, and a run's id is 32 hexadecimal
digits or refused.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..display import one_line
from ..errors import refuse
from ..tags import COMMIT_ID

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_LONGEST = 65_536  # characters of a text on GitHub
# Markup that may stand around the words of the line: `Run: 3f2a`, `- **Run:** 3f2a`, run: `3f2a`.
_MARKUP = " \t*_+-`"
_TEMPLATE = "write the run's id behind `Run:` in the pull request's text, as its template has it"
_EVENT = "name the file whose path is in GITHUB_EVENT_PATH"


@dataclass(frozen=True)
class PullRequest:
    """What is under review. None stands for what the event does not say: a push has no text and names no run.

    head: the commit to look at. base: the commit of the branch that it goes to. text: what its author wrote.
    """

    head: str | None
    base: str | None
    text: str | None


def read_event(file: Path) -> PullRequest:
    """Return what the *file* says that GitHub Actions names in GITHUB_EVENT_PATH; raises Refused."""
    name = one_line(str(file), 200)
    try:
        event = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        refuse("--event", f"{name} cannot be read ({getattr(error, 'strerror', None) or 'it is no JSON'})", _EVENT)
    request = _part(event, "pull_request")
    if not request:
        if (pushed := _commit(_part(event).get("after"))) is None:
            refuse("--event", f"{name} describes no pull request and no push", _EVENT)
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
        if head.strip(_MARKUP).casefold() == "run" and (word := rest.strip(_MARKUP)):
            named.append(word)
    if not named:
        refuse("run", "the pull request names no run", _TEMPLATE)
    if len(set(named)) > 1:
        refuse("run", f"the pull request names {len(set(named))} runs", "name one")
    if not _RUN_ID.fullmatch(named[0]):
        problem = f"the pull request names {one_line(named[0], 40)!r}, which is no run id (32 hexadecimal digits)"
        refuse("run", problem, _TEMPLATE)
    return named[0]


def _without_comments(text: str) -> str:
    kept = []
    while text:
        before, _, rest = text.partition("<!--")
        kept.append(before)
        text = rest.partition("-->")[2]
    return "".join(kept)


def _part(event: Any, name: str | None = None) -> dict[str, Any]:
    part = event.get(name) if name and isinstance(event, dict) else event
    return part if isinstance(part, dict) else {}


def _commit(value: Any) -> str | None:
    return value if isinstance(value, str) and COMMIT_ID.fullmatch(value) and value.strip("0") else None
