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
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache

from ..errors import Refused, StoreUnavailable, Violation
from ..project import team_defaults
from ..provenance.gather import gather
from ..tags import JOINS_TAG, PARENT_TAG, PROCESS_TAG
from .fluent import joins
from .open_runs import note_unplaced, open_runs
from .process import this_process
from .store import tracking_uri

# Where the configuration names no usable store, MLflow keeps its own default: an import must not fail for that.
with suppress(Refused, StoreUnavailable):
    os.environ.setdefault("MLFLOW_TRACKING_URI", tracking_uri())
    if "MLFLOW_EXPERIMENT_ID" not in os.environ and isinstance(_name := team_defaults().get("experiment_name"), str):
        os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", _name)

# True while `tracked_run` begins a run with tags that it has gathered itself.
_tags_are_given: ContextVar[bool] = ContextVar("tags_are_given", default=False)


@contextmanager
def tags_given() -> Iterator[None]:
    """Inside, the provider leaves the tags of a new run to the code that begins the run."""
    token = _tags_are_given.set(True)
    try:
        yield
    finally:
        _tags_are_given.reset(token)


class ProvenanceContext:
    """Gives a new run of the fluent API its tags: those of the open run, else those of the team's defaults.

    A run that is begun inside the block of an open run belongs to that run, in any thread and in any process that was
    started inside. What is logged there without a run goes into the open run itself: MLflow would begin a run for that,
    and the tag `JOINS_TAG` asks the gate for the open run instead.

    MLflow ignores what a provider raises, so a provider cannot refuse a run. This one warns about what is missing; the
    gate of the store refuses the run, and so do `validate_required_tags` and `repro validate`.
    """

    def in_context(self) -> bool:
        return not _tags_are_given.get()

    def tags(self) -> dict[str, str]:
        runs, is_asked_for = open_runs(), _is_asked_for()
        if len(runs) == 1:
            (run,) = runs
            tags = {**run.tags, PROCESS_TAG: this_process()}
            if is_asked_for is not None and not _has_active_run():
                tags[PARENT_TAG] = run.run_id
            if is_asked_for is False:
                tags[JOINS_TAG] = run.run_id
                joins(run.run_id)
            return tags
        if runs and is_asked_for is False:
            note_unplaced(runs)
            return {JOINS_TAG: " ".join(run.run_id for run in runs)}
        return self._tags_of_defaults()

    def _tags_of_defaults(self) -> dict[str, str]:
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


def _is_asked_for() -> bool | None:
    """Whether somebody called `mlflow.start_run`. False if something is logged where no run is active: MLflow then
    begins a run by itself. None if MLflow wants the tags for something else, such as a trace or a dataset.

    MLflow tells its providers nothing about the new run. So this looks who called `start_run`.
    """
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "start_run" and frame.f_globals.get("__name__") == "mlflow.tracking.fluent":
            return frame.f_back is None or frame.f_back.f_code.co_name != "_get_or_start_run"
        frame = frame.f_back
    return None


def _has_active_run() -> bool:
    import mlflow

    return mlflow.active_run() is not None


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
