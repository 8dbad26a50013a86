"""The tags of the provenance on runs that did not ask for them: plain `mlflow.start_run()` and autologging.

MLflow loads the class through the entry point group ``mlflow.run_context_provider`` in pyproject.toml, while it is
imported itself: so nothing of MLflow is imported here, not even the base class, which MLflow does not ask for.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from ..errors import Refused, StoreUnavailable, Violation
from ..project import team_defaults
from ..provenance.gather import gather
from ..tags import PROCESS_TAG
from .process import this_process
from .store import tracking_uri

# Everyone logs to the same place, also who never names it: MLflow reads this when it first needs a store.
with suppress(Refused, StoreUnavailable):
    os.environ.setdefault("MLFLOW_TRACKING_URI", tracking_uri())

_carried: ContextVar[Mapping[str, str] | None] = ContextVar("carried", default=None)


@contextmanager
def carrying(tags: Mapping[str, str]) -> Iterator[None]:
    """Inside, every new run carries *tags*: those of the run around it, whose config and data are its own too."""
    token = _carried.set(tags)
    try:
        yield
    finally:
        _carried.reset(token)


class ProvenanceContext:
    """Gives a new run of the fluent API the tags of the run it is in, else of the team's defaults in configs/base.yaml.

    MLflow swallows what a provider raises, so this cannot block a run: it warns about what is missing, and
    `validate_required_tags`, `repro validate` and the tracking server refuse such a run.
    """

    def in_context(self) -> bool:
        return True

    def tags(self) -> dict[str, str]:
        if (carried := _carried.get()) is not None:
            return {**carried, PROCESS_TAG: this_process()}
        try:
            provenance = gather(team_defaults())
        except Refused as refused:
            refusals = refused.violations
            tags = {}
        else:
            refusals = provenance.refusals
            tags = {**provenance.tags, PROCESS_TAG: this_process()}
            if provenance.git and provenance.git.dirty:
                changes = "the work tree has changes, and a plain run does not keep them"
                refusals += (Violation("uncommitted_changes", changes, "call `log_reproducibility_info()` in it"),)
        for violation in refusals:
            warnings.warn(f"this run cannot be made again. {violation}", stacklevel=2)
        return tags


def run_context() -> dict[str, str]:
    """Return the tags that MLflow gives to every run of this process because MLFLOW_RUN_CONTEXT says so."""
    try:
        tags = json.loads(os.environ.get("MLFLOW_RUN_CONTEXT", "{}"))
    except ValueError:
        return {}
    return tags if isinstance(tags, dict) else {}
