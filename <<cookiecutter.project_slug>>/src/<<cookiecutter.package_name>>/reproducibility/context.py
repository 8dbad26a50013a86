"""The tags of the provenance on runs that did not ask for them: plain `mlflow.start_run()` and autologging.

MLflow loads the class through the entry point group ``mlflow.run_context_provider`` in pyproject.toml, while it is
imported itself: so nothing of MLflow is imported here, not even the base class, which MLflow does not ask for.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .provenance import gather, team_defaults
from .violation import Refused

_providing = ContextVar("providing", default=True)


@contextmanager
def silenced() -> Iterator[None]:
    """Inside, the provider adds nothing: `tracked_run` has gathered the tags already."""
    token = _providing.set(False)
    try:
        yield
    finally:
        _providing.reset(token)


class ProvenanceContext:
    """Gives a new run of the fluent API the tags of the team's defaults in configs/base.yaml.

    MLflow swallows what a provider raises, so this cannot block a run: it warns about what is missing, and
    `validate_required_tags`, `repro validate` and the tracking server refuse such a run.
    """

    def in_context(self) -> bool:
        return _providing.get()

    def tags(self) -> dict[str, str]:
        try:
            provenance = gather(team_defaults())
        except Refused as refused:
            refusals = refused.violations
            tags = {}
        else:
            refusals = provenance.refusals
            tags = provenance.tags
        for violation in refusals:
            warnings.warn(f"this run cannot be made again. {violation}", stacklevel=2)
        return tags
