"""The provenance tags of runs that do not ask for them: plain `mlflow.start_run()` and autologging.

MLflow imports this module while MLflow itself is imported, through the entry point group
``mlflow.run_context_provider`` in pyproject.toml. So nothing of MLflow is imported here, not even the base class, which
MLflow does not require.

Importing this module sets the environment variables MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME, unless they are set
already. MLflow reads them when it first needs a store. So code that names no store, such as ``import mlflow;
mlflow.autolog()``, records where the whole team does, and not in a store of its own in the working folder or in the
experiment "Default". This must happen on import: nothing else of this package runs in such code before MLflow opens its
store.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache

from ..errors import Refused, StoreUnavailable, Violation
from ..project import team_defaults
from ..provenance.gather import gather
from ..tags import PROCESS_TAG
from .process import this_process
from .store import tracking_uri

# Where the configuration names no usable store, MLflow keeps its own default: an import must not fail for that.
with suppress(Refused, StoreUnavailable):
    os.environ.setdefault("MLFLOW_TRACKING_URI", tracking_uri())
    if "MLFLOW_EXPERIMENT_ID" not in os.environ and isinstance(_name := team_defaults().get("experiment_name"), str):
        os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", _name)

_inherited: ContextVar[Mapping[str, str] | None] = ContextVar("inherited", default=None)


@contextmanager
def nested_runs_inherit(tags: Mapping[str, str]) -> Iterator[None]:
    """Inside, every new run gets *tags*, those of the enclosing run: both have the same config and data."""
    token = _inherited.set(tags)
    try:
        yield
    finally:
        _inherited.reset(token)


class ProvenanceContext:
    """Gives a new run of the fluent API its tags: those of the enclosing run, else those of the team's defaults.

    MLflow ignores what a provider raises, so a provider cannot refuse a run. This one warns about what is missing; the
    gate of the store refuses the run, and so do `validate_required_tags` and `repro validate`.
    """

    def in_context(self) -> bool:
        return True

    def tags(self) -> dict[str, str]:
        if (inherited := _inherited.get()) is not None:
            return {**inherited, PROCESS_TAG: this_process()}
        try:
            provenance = gather(team_defaults())
        except Refused as refused:
            refusals, tags = refused.violations, {}
        else:
            refusals = provenance.refusals
            tags = {**provenance.tags, PROCESS_TAG: this_process()}
            if provenance.git and provenance.git.dirty:
                changes = "the work tree has changes, and a plain run does not record them"
                refusals += (Violation("uncommitted_changes", changes, "call `log_reproducibility_info()` in it"),)
        if refusals:
            _warn_once("; ".join(map(str, refusals)))
        return tags


_RECIPE = """
    from reproducibility import load, tracked_run
    with tracked_run(load("configs/experiment.yaml", ExperimentConfig)):
        mlflow.autolog()
        model.fit(x, y)"""


@cache
def _warn_once(why: str) -> None:
    # One autologged training asks the provider several times.
    warnings.warn(f"this run cannot be reproduced. {why}. A run that can be reproduced:{_RECIPE}", stacklevel=3)


def run_context() -> dict[str, str]:
    """Return the tags in MLFLOW_RUN_CONTEXT, which MLflow gives to every run of this process."""
    try:
        tags = json.loads(os.environ.get("MLFLOW_RUN_CONTEXT", "{}"))
    except ValueError:
        return {}
    return tags if isinstance(tags, dict) else {}
