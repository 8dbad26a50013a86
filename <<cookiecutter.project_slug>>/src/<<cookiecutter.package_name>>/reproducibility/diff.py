"""Diff: two recorded runs, whatever they are called, compared in all that they carry or in what came out."""

from functools import partial
from typing import TYPE_CHECKING

from .code_difference import compare as compare_code
from .condition import Condition, conditions
from .difference import Difference, difference, ended
from .evidence import ManifestError
from .kinship import compared
from .metric_difference import compare as compare_metrics
from .metric_history import histories
from .progress import say
from .project import PROJECT_ROOT, team_policy
from .recorded_run import find, read, unlike
from .store import connect, page
from .testimony import Testimony
from .verdict import Verdict
from .violation import Refused, Violation

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


def results(a: str, b: str) -> Verdict:
    """Compare only what came out of the runs that *a* and *b* mean, and of those inside them, as if *b* repeated *a*.

    It holds if all of it is the same within the tolerance of the team's policy. What they were made from does not
    count; where it differs, it is among the conditions. Nothing is recorded.

    Raises Refused when one is not there or cannot be read and when both are one, StoreUnavailable when it is away.
    """
    tolerance = team_policy().tolerance
    say("opening the tracking store ...")
    client = connect()
    first, second = (read(client, find(client, reference)) for reference in (a, b))
    ids = [recorded.run.info.run_id for recorded in (first, second)]
    if ids[0] == ids[1]:
        raise Refused([Violation("run id", f"both are run {ids[0]}", "name two runs")])
    try:
        given = frozenset(first.manifest["params"])
        differing = [*(Condition(*each) for each in unlike(first, second)), *conditions(first, second)]
    except (ManifestError, KeyError) as error:
        fix = "repro validate says which of the two it is, and what is wrong with it"
        raise Refused([Violation("evidence", f"runs {' and '.join(ids)} cannot be compared: {error}", fix)]) from None
    say("comparing ...")
    pairs = compared(client, first.run, second.run, tolerance, given)
    return Verdict(ids[0], pairs, tuple(differing), (), page(client.tracking_uri, second.run))


def _testimony(client: "MlflowClient", reference: str) -> Testimony:
    return Testimony(read(client, find(client, reference)))
