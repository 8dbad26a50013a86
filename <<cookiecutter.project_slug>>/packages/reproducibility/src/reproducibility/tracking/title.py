"""What a person reads first about a run: its name in a list of runs, and the description on its page in MLflow."""

from pathlib import PurePosixPath

from ..display import one_line
from ..provenance.gather import Provenance
from ..tags import REPRODUCES
from .context import run_context

NOTE_TAG = "mlflow.note.content"  # the description
_LONGEST = 100  # characters of a name


def title(provenance: Provenance) -> str | None:
    """Return a name that says what is tried, such as ``experiment max_depth=3``; None if no config file says it."""
    if original := run_context().get(REPRODUCES):
        return f"reproduction of {original[:8]}"
    if not provenance.config_files:
        return None
    file = PurePosixPath(provenance.config_files[0]).stem
    changed = (override.partition("=") for override in provenance.overrides)
    words = [file, *(f"{key.rpartition('.')[2]}={value}" for key, _, value in changed)]
    return one_line(" ".join(words), _LONGEST)


def description(provenance: Provenance, run_id: str) -> str:
    """Return, as Markdown, what the run was made from and how it is reproduced."""
    config = [provenance.config_files[0], *provenance.overrides] if provenance.config_files else []
    git = provenance.git
    changes = ", with uncommitted changes, which are in the patch of the run" if git and git.dirty else ""
    lines = (
        f"Config: {', '.join(map(_code, config))}" if config else "",
        f"Code: commit {_code(git.commit[:10])} on {_code(git.branch)}{changes}" if git else "",
        f"Reproduce it: {_code(f'nox -s reproduce -- {run_id}')}",
    )
    return "\n\n".join(filter(None, lines))


def _code(text: str) -> str:
    return f"`{one_line(text, 300).replace('`', chr(39))}`"
