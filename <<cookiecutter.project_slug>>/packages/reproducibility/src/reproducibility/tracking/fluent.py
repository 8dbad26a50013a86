"""What is logged where no run is active goes into the open run: into it from every thread and process that it started.

`mlflow.log_metric` and its like begin a run of their own there, which nobody sees and nobody ends. MLflow has no public
way to change that. So the function that finds their run is replaced; a test shows that the pinned MLflow calls it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import refuse
from .open_runs import note_unplaced, open_runs

if TYPE_CHECKING:
    from mlflow.entities import Run

_runs: "dict[str, Run]" = {}  # what MLflow's functions need to know about a run, asked for once
_joined: set[str] = set()
_plain: set[str] = set()
_find_or_begin: "Callable[[], Run] | None" = None


def log_into_open_runs() -> None:
    """From now on, what this process logs where no run is active goes into the open run."""
    from mlflow.tracking import fluent

    global _find_or_begin
    if _find_or_begin is None:
        _find_or_begin = fluent._get_or_start_run
        fluent._get_or_start_run = _run_to_log_into


def log_into(run: "Run") -> None:
    """Let threads without a run log into *run*, which the user's own code began, as long as the run is active."""
    _plain.add(run.info.run_id)
    log_into_open_runs()


def joins(run_id: str) -> None:
    """Remember that MLflow takes *run_id* for a run that this thread began: its first call asked for one."""
    _joined.add(run_id)
    log_into_open_runs()


def _run_to_log_into() -> "Run":
    import mlflow
    from mlflow.tracking import fluent

    stack = fluent._active_run_stack.get()
    if stack and stack[-1].info.run_id in _joined:
        stack.pop()
    if stack:
        return stack[-1]
    if runs := open_runs():
        if len(runs) > 1:
            note_unplaced(runs)
            problem = f"it is not known into which run this is logged: {' or '.join(run.run_id for run in runs)}"
            refuse("run_id", problem, "name the run: mlflow.log_metric(..., run_id=run.info.run_id)")
        run_id = runs[0].run_id
        if run_id not in _runs:
            _runs[run_id] = mlflow.get_run(run_id)
        return _runs[run_id]
    stacks = fluent._active_run_stack.get_all_thread_values().values()
    plain = {run.info.run_id: run for stack in stacks for run in stack if run.info.run_id in _plain}
    return next(iter(plain.values())) if len(plain) == 1 else _find_or_begin()
