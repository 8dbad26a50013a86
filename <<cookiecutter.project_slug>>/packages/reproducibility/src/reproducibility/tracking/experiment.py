"""The experiment of a run that names none: that of the run around it, else the team's.

MLflow imports this module while MLflow itself is imported, through the entry point group
``mlflow.default_experiment_provider`` in pyproject.toml, and would use the experiment "Default" without it.
"""

from ..errors import Refused
from ..project import team_defaults
from .open_runs import open_runs
from .store import experiment_id


class TeamExperiment:
    """Tells MLflow the experiment of a run, where neither the code nor a variable of MLflow's names one."""

    def in_context(self) -> bool:
        return len(open_runs()) == 1 or _name() is not None

    def get_experiment_id(self) -> str:
        import mlflow

        if len(runs := open_runs()) == 1:
            return runs[0].experiment_id
        return experiment_id(mlflow.MlflowClient(), _name())


def _name() -> str | None:
    try:
        name = team_defaults().get("experiment_name")
    except Refused:
        return None
    return name if isinstance(name, str) and name.strip() else None
