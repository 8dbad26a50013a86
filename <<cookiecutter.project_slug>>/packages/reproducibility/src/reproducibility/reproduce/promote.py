"""Promotion: an alias that others rely on points to the model of a run, once the run was reproduced."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..display import emit
from ..errors import NotPromoted, Refused, Violation, gate_violation
from ..project import team_policy
from ..rules import StoredRun, why_not_reproduced
from ..tags import REPRODUCED_BY
from ..tracking.recorded import find_run, model_outputs, read_run, readable
from ..tracking.store import connect, reachable, require_own_registry
from ..tracking.validation import judge
from .reproduce import compare_with_last_reproduction

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class Promotion:
    """What an alias points to now. version: of the registered model *model*. verdict: on the run's reproduction."""

    model: str
    alias: str
    version: str
    run_id: str
    verdict: str


def promote(reference: str, model: str, alias: str) -> Promotion:
    """Register the model of the run that *reference* means as *model*, and let *alias* point to it.

    Promoting the same model twice registers it once. Raises NotPromoted with everything that is missing and the
    command that supplies it, Refused for an unknown run or an invalid name, and StoreUnavailable. Nothing is
    registered in these cases.
    """
    client = connect()
    from mlflow.exceptions import MlflowException

    from ..gate.registry import require_names

    require_names(model, alias)
    require_own_registry(client.tracking_uri)
    run = find_run(client, reference)
    found, verdict = promotion_problems(client, run)
    models = [output.model_id for output in model_outputs(run)]
    if len(models) != 1:
        problem = f"the run logged {len(models)} models, and a promotion needs exactly one"
        found.append(Violation(f"run {run.info.run_id}", problem, "log one in the run: mlflow.sklearn.log_model(...)"))
    if found:
        raise NotPromoted(found)
    with reachable(client.tracking_uri):
        with readable(client, run, "its model"):
            client.get_logged_model(models[0])
        is_new_model = _create_model(client, model)
        version, is_new_version = _register_version(client, model, run.info.run_id, models[0])
        try:
            client.set_registered_model_alias(model, alias, version)
        except MlflowException as error:
            if (violation := gate_violation(str(error))) is None:
                raise
            # The gate decides: its policy may be another one, or something changed meanwhile.
            if is_new_version:
                client.delete_model_version(model, version)
            if is_new_model:
                client.delete_registered_model(model)
            raise NotPromoted([violation]) from None
    return Promotion(model, alias, version, run.info.run_id, verdict)


def show_promotion(done: Promotion, as_json: bool) -> None:
    """Print what an alias points to now: a sentence for people, or one JSON object."""
    text = f"{done.alias} of {done.model} is version {done.version}: run {done.run_id}, reproduced and {done.verdict}"
    emit(as_json, lambda: asdict(done), lambda console: console.print(text, soft_wrap=True))


def promotion_problems(client: "MlflowClient", run: "Run") -> tuple[list[Violation], str]:
    """Return why the model of *run* may not be promoted, and the verdict on the run's reproduction ("" if none)."""
    run_id = run.info.run_id
    found, verdict = [], ""
    validation = judge(client, read_run(client, run), team_policy())
    for check in validation.checks:
        if not check.holds:
            fix = f"train anew: a recorded run cannot be repaired (repro validate {run_id} shows all checks)"
            found.append(Violation(f"run {run_id}", f"{check.name}: {check.detail}", fix))
    if found:
        return found, verdict
    try:
        compared = compare_with_last_reproduction(run_id)
    except Refused as refused:
        return [*refused.violations], verdict
    verdict = compared.outcome.value
    if not compared.holds:
        problem = f"its reproduction is {verdict}: {compared.first_difference}"
        fix = f"find the cause (repro diff {run_id} {compared.judged[0].b}), remove it and train anew"
        found.append(Violation(f"run {run_id}", problem, fix))
    if compared.forced:
        problem = f"its reproduction needs force ({'; '.join(compared.forced)})"
        found.append(Violation(f"run {run_id}", problem, f"without --force: repro reproduce {run_id}"))
    if not found and (why := _why_the_gate_refuses(client, run)):
        found.append(Violation(f"run {run_id}", why, f"repro reproduce {run_id}"))
    return found, verdict


def _why_the_gate_refuses(client: "MlflowClient", run: "Run") -> str | None:
    """Return why the gate would refuse the alias, as a clause: the gate judges by tags and metrics, not by files."""
    reproduction = run.data.tags.get(REPRODUCED_BY)
    if reproduction is None:
        return f"its own tag `{REPRODUCED_BY}` names no run"
    runs = (run, find_run(client, reproduction))
    stored = [StoredRun(each.info.run_id, each.data.tags, each.data.metrics) for each in runs]
    return why_not_reproduced(*stored, team_policy())


def _create_model(client: "MlflowClient", model: str) -> bool:
    """Create the registered *model* if there is none; return whether it is new."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


def _register_version(client: "MlflowClient", model: str, run_id: str, model_id: str) -> tuple[str, bool]:
    """Return the version of *model* that is the logged model *model_id*, registered if need be; whether it is new."""
    source = f"models:/{model_id}"
    for version in client.search_model_versions(f"run_id = '{run_id}'"):
        if version.name == model and version.source == source:
            return str(version.version), False
    return str(client.create_model_version(model, source, run_id=run_id, model_id=model_id).version), True
