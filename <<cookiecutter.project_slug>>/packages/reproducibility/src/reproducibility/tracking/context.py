"""The provenance tags of runs that do not ask for them: plain `mlflow.start_run()` and autologging.

MLflow imports this module while MLflow itself is imported, through the entry point group
``mlflow.run_context_provider`` in pyproject.toml. So nothing of MLflow is imported at the top of this module, not even
the base class, which MLflow does not require.

Importing this module sets the environment variable MLFLOW_TRACKING_URI, unless it is set already. MLflow reads the
variable when it first needs a store. So code that names no store, such as ``import mlflow; mlflow.autolog()``, records
where the whole team does, and not in a store of its own in the working folder. This must happen on import: nothing else
of this package runs in such code before MLflow opens its store.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache

import click

from ..errors import Refused, StoreUnavailable, Violation
from ..process import this_process
from ..project import team_defaults
from ..provenance.gather import gather
from ..tags import PARENT_TAG, PROCESS_TAG
from .fluent import find_open_runs_first
from .open_runs import open_runs
from .ramp import only_records, tag_of
from .store import tracking_uri

# Where the configuration names no usable store, MLflow keeps its own default: an import must not fail for that.
with suppress(Refused, StoreUnavailable):
    os.environ.setdefault("MLFLOW_TRACKING_URI", tracking_uri())

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
    started inside.

    MLflow ignores what a provider raises, so a provider cannot refuse a run. This one warns about what is missing; the
    gate of the store refuses the run, and so do `validate_required_tags` and `repro validate`.
    """

    def __init__(self) -> None:
        from mlflow.utils.import_hooks import register_post_import_hook

        # MLflow makes its providers while it imports its own modules, before it imports this one.
        register_post_import_hook(find_open_runs_first, "mlflow.tracking.fluent")

    def in_context(self) -> bool:
        return not _tags_are_given.get()

    def tags(self) -> dict[str, str]:
        if len(runs := open_runs()) == 1:
            (run,) = runs
            around = {PARENT_TAG: run.run_id} if _begins_a_run() and not _has_active_run() else {}
            return {**run.tags, **around, PROCESS_TAG: this_process()}
        return self._tags_of_defaults()

    def _tags_of_defaults(self) -> dict[str, str]:
        try:
            provenance = gather(team_defaults())
        except Refused as refused:
            refusals, tags = refused.violations, {}
        else:
            refusals = provenance.refusals
            # MLflow's own provider takes the address of the remote as it is, with a token that it may contain.
            address = {"mlflow.source.git.repoURL": provenance.git.remote} if provenance.git else {}
            tags = {**provenance.tags, **address, PROCESS_TAG: this_process()}
            if only_records(provenance.policy):
                tags |= tag_of(refusals, tags)
            if provenance.git and provenance.git.dirty:
                changes = "the work tree has changes, and a plain run does not record them"
                refusals += (Violation("uncommitted_changes", changes, "call `log_reproducibility_info()` in it"),)
        if refusals:
            _warn_once("; ".join(map(str, refusals)))
        return tags


def _begins_a_run() -> bool:
    """Whether MLflow wants the tags for a new run, and not for something else, such as a trace or a dataset.

    MLflow does not say what the tags are for. So this looks for `mlflow.start_run` among its callers.
    """
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "start_run" and frame.f_globals.get("__name__") == "mlflow.tracking.fluent":
            return True
        frame = frame.f_back
    return False


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
    click.echo(f"Warning: this run cannot be reproduced. {why}. A run that can be reproduced:{_RECIPE}", err=True)


def run_context() -> dict[str, str]:
    """Return the tags in MLFLOW_RUN_CONTEXT, which MLflow gives to every run of this process."""
    try:
        tags = json.loads(os.environ.get("MLFLOW_RUN_CONTEXT", "{}"))
    except ValueError:
        return {}
    return tags if isinstance(tags, dict) else {}
