"""What is logged where no run is active goes into the open run, from every thread and process that the run started.

`mlflow.log_metric` and its like begin a run of their own there, which nobody sees and nobody ends. MLflow has no public
way to change that. So the function of MLflow that finds their run is replaced, in every process that imports MLflow; a
test shows that the pinned MLflow calls it.
"""

from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import refuse
from .open_runs import note_unplaced, open_runs

if TYPE_CHECKING:
    from mlflow.entities import Run

_runs: "dict[str, Run]" = {}  # what MLflow's functions need to know about a run, asked for once
_plain: set[str] = set()


def log_into(run: "Run") -> None:
    """Let threads without a run log into *run*, which the user's own code began, as long as the run is active."""
    _plain.add(run.info.run_id)


def find_open_runs_first(fluent: ModuleType) -> None:
    """Let the functions of *fluent*, MLflow's module of this name, look for an open run before they begin one."""
    find_or_begin = fluent._get_or_start_run

    def find() -> "Run":
        if stack := fluent._active_run_stack.get():
            return stack[-1]
        if runs := open_runs():
            if len(runs) > 1:
                note_unplaced(runs)
                problem = f"it is not known into which run this is logged: {' or '.join(run.run_id for run in runs)}"
                refuse("run_id", problem, "name the run: mlflow.log_metric(..., run_id=run.info.run_id)")
            stack = fluent._active_run_stack.get_all_thread_values().get(runs[0].thread)
            if stack and runs[0].run_id in {run.info.run_id for run in stack}:
                return stack[-1]  # in this process: the run that is active where the block is
            run_id = runs[0].run_id
            if run_id not in _runs:
                _runs[run_id] = fluent.get_run(run_id)
            return _runs[run_id]
        stacks = fluent._active_run_stack.get_all_thread_values().values()
        plain = {run.info.run_id: run for stack in stacks for run in stack if run.info.run_id in _plain}
        return next(iter(plain.values())) if len(plain) == 1 else find_or_begin()

    fluent._get_or_start_run = find
