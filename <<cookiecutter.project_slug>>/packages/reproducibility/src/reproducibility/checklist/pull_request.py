"""A pull request, or what else started a workflow: what GitHub tells the workflow, and which run is named there.

The author of a pull request writes all of it. Here it is data: it reaches no shell, and a run's id is 32 hexadecimal
digits or refused. GitLab's merge requests are the same thing under another name.
"""

import json
import re
from collections.abc import Mapping
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
    """What is under review. None stands for what the event does not say: only a pull request has a text.

    head: the commit to look at. base: the commit of the branch that it goes to. text: what the author of a pull request
    wrote. run: what somebody wrote who started the workflow by hand and named a run.
    """

    head: str | None = None
    base: str | None = None
    text: str | None = None
    run: str | None = None

    def named_run(self) -> str | None:
        """Return the id of the run that is named; None if nobody could name one. Raises Refused for a wrong name."""
        if self.run is not None:
            return _run_id(self.run, "the input `run` of the workflow", "start the workflow with the id of a run")
        return None if self.text is None else named_run(self.text)


def read_event(file: Path) -> PullRequest:
    """Return what the *file* says that GitHub Actions names in GITHUB_EVENT_PATH; raises Refused.

    The event is a pull request, a merge group of a merge queue, a push, a schedule, or a start by hand. The last two
    name no commit: GitHub checks out the newest one of a branch.
    """
    name = one_line(str(file), 200)
    try:
        event = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        refuse("--event", f"{name} cannot be read ({getattr(error, 'strerror', None) or 'it is no JSON'})", _EVENT)
    if request := _part(event, "pull_request"):
        text = request.get("body")
        head, base = (_commit(_part(request, part).get("sha")) for part in ("head", "base"))
        return PullRequest(head, base, text if isinstance(text, str) else "")
    if group := _part(event, "merge_group"):
        return PullRequest(_commit(group.get("head_sha")), _commit(group.get("base_sha")))
    if (pushed := _commit(_part(event).get("after"))) is not None:
        return PullRequest(pushed)
    if isinstance(_part(event).get("schedule"), str):
        return PullRequest()
    if "inputs" in _part(event):
        run = _part(event, "inputs").get("run")
        return PullRequest(run=run if isinstance(run, str) else None)
    refuse("--event", f"{name} describes nothing that starts a workflow of this project", _EVENT)


def read_merge_request(variables: Mapping[str, str]) -> PullRequest:
    """Return what GitLab's predefined *variables* say about a merge request; raises Refused where there is none.

    GitLab cuts a long description, and then the line that names the run may be missing.
    """
    if not variables.get("CI_MERGE_REQUEST_IID"):
        fix = "leave the option out, or start the job in a pipeline of a merge request"
        refuse("--merge-request", "CI_MERGE_REQUEST_IID is empty, so this is no pipeline of a merge request", fix)
    # A pipeline of merged results runs for a commit that GitLab made up, and names that of the branch beside it.
    head = variables.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or variables.get("CI_COMMIT_SHA")
    base = variables.get("CI_MERGE_REQUEST_DIFF_BASE_SHA")
    return PullRequest(_commit(head), _commit(base), variables.get("CI_MERGE_REQUEST_DESCRIPTION", ""))


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
    return _run_id(named[0], "the pull request", _TEMPLATE)


def _run_id(word: str, where: str, fix: str) -> str:
    if not _RUN_ID.fullmatch(word):
        refuse("run", f"{where} names {one_line(word, 40)!r}, which is no run id (32 hexadecimal digits)", fix)
    return word


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
