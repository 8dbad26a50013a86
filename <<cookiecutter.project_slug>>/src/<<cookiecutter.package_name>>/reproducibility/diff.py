"""Diff: two recorded runs, whatever they are called, fetched and compared in all that they carry."""

from functools import partial
from typing import TYPE_CHECKING

from .code_difference import compare as compare_code
from .difference import Difference, difference, ended
from .metric_difference import compare as compare_metrics
from .metric_history import histories
from .progress import say
from .project import PROJECT_ROOT, team_policy
from .recorded_run import find, read
from .store import connect
from .testimony import Testimony

if TYPE_CHECKING:
    from mlflow import MlflowClient


def diff(a: str, b: str, with_patch: bool = False) -> Difference:
    """Compare the runs that the references *a* and *b* mean; with the patch between their code if that is wanted.

    What the team's policy says tells nothing about what was learned, such as MLflow's measures of the machine, is left
    out of the metrics.

    Raises Refused when one is not there, StoreUnavailable when the store is away.
    """
    policy = team_policy()
    say("opening the tracking store ...")
    client = connect()
    both = tuple(_testimony(client, reference) for reference in (a, b))
    runs = [testimony.recorded.run for testimony in both]
    say(f"reading the metrics, {' and '.join(str(len(run.data.metrics)) for run in runs)} of them ...")
    metrics = compare_metrics(
        tuple(run.data.metrics for run in runs),
        tuple(histories(client, run) for run in runs),
        tuple(ended(testimony) for testimony in both),
        policy.tolerance.not_compared,
    )
    say("comparing the code ...")
    return difference(*both, metrics, partial(compare_code, PROJECT_ROOT, with_patch=with_patch))


def _testimony(client: "MlflowClient", reference: str) -> Testimony:
    return Testimony(read(client, find(client, reference)))
