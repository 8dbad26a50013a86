"""Promotion: the model of a run that was made again, with its verdict, becomes one that others rely on."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..display import emit
from ..errors import NotPromoted, Refused, Violation, gate_violation
from ..project import team_policy
from ..rules import StoredRun, why_not_reproduced
from ..tags import REPRODUCED_BY
from ..tracking.recorded import find_run, read_run, readable
from ..tracking.store import connect, reachable
from ..tracking.validation import judge
from .reproduce import compare_again

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class Promotion:
    """What an alias points to now. version: of the registered model *model*. verdict: of the run made again."""

    model: str
    alias: str
    version: str
    run_id: str
    verdict: str


def promote(reference: str, model: str, alias: str) -> Promotion:
    """Register the model of the run that *reference* means as *model*, and let *alias* point to it.

    Raises NotPromoted with everything that is missing and the command that supplies it, Refused when there is no
    such run or a name is none, StoreUnavailable. Nothing is registered then. Done twice, it registers once.
    """
    client = connect()
    from mlflow.exceptions import MlflowException

    _require_names(model, alias)
    run = find_run(client, reference)
    found, verdict = doubts(client, run)
    models = [output.model_id for output in run.outputs.model_outputs] if run.outputs else []
    if len(models) != 1:
        problem = f"the run has {len(models)} models, and it must be clear which one is meant"
        found.append(Violation(f"run {run.info.run_id}", problem, "log one in it: mlflow.sklearn.log_model(...)"))
    if found:
        raise NotPromoted(found)
    with reachable(client.tracking_uri):
        with readable(client, run, "its model"):
            client.get_logged_model(models[0])
        is_new_model = _created(client, model)
        version, is_new = _registered(client, model, run.info.run_id, models[0])
        try:
            client.set_registered_model_alias(model, alias, version)
        except MlflowException as error:
            if (violation := gate_violation(str(error))) is None:
                raise
            # The gate knows better: it has another policy, or something changed meanwhile.
            if is_new:
                client.delete_model_version(model, version)
            if is_new_model:
                client.delete_registered_model(model)
            raise NotPromoted([violation]) from None
    return Promotion(model, alias, version, run.info.run_id, verdict)


def show_promotion(done: Promotion, as_json: bool) -> None:
    """Print what an alias points to now: a sentence for people, or one JSON object."""
    said = f"{done.alias} of {done.model} is version {done.version}: run {done.run_id}, reproduced and {done.verdict}"
    emit(as_json, lambda: asdict(done), lambda console: console.print(said, soft_wrap=True))


def _require_names(model: str, alias: str) -> None:
    """Raise Refused for a name that no registry takes, before anything is registered."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils import validation

    checks = {
        "--model": (validation._validate_model_name, model),
        "--alias": (validation._validate_model_alias_name, alias),
    }
    found = []
    for option, (check, name) in checks.items():
        try:
            check(name)
            if option == "--alias":
                validation._validate_model_alias_name_reserved(name)
        except MlflowException as error:
            found.append(Violation(option, f"{name[:80]!r} is no name for it ({error.message})", "choose another"))
    if found:
        raise Refused(found)


def doubts(client: "MlflowClient", run: "Run") -> tuple[list[Violation], str]:
    """Return what keeps others from relying on *run*, and the verdict of the run made again if there is one."""
    run_id = run.info.run_id
    found, verdict = [], ""
    validation = judge(client, read_run(client, run), team_policy())
    for check in validation.checks:
        if not check.holds:
            fix = f"train anew: nothing mends a run afterwards (repro validate {run_id} shows all of it)"
            found.append(Violation(f"run {run_id}", f"{check.name}: {check.evidence}", fix))
    if found:
        return found, verdict
    try:
        compared = compare_again(run_id)
    except Refused as refused:
        return [*refused.violations], verdict
    verdict = compared.outcome.value
    if not compared.holds:
        problem = f"made again it came out {verdict}: {compared.first_difference}"
        fix = f"find the cause (repro diff {run_id} {compared.judged[0].second}), mend it and train anew"
        found.append(Violation(f"run {run_id}", problem, fix))
    if compared.forced:
        problem = f"it was made again by force ({'; '.join(compared.forced)})"
        found.append(Violation(f"run {run_id}", problem, f"make it again without: repro reproduce {run_id}"))
    if not found and (why := _against_tags(client, run)):
        found.append(Violation(f"run {run_id}", why, f"make it again: repro reproduce {run_id}"))
    return found, verdict


def _against_tags(client: "MlflowClient", run: "Run") -> str | None:
    """Return what the gate, which compares no files, would say of the tags that hold the verdict, as a clause."""
    again = run.data.tags.get(REPRODUCED_BY)
    if again is None:
        return f"its own tag `{REPRODUCED_BY}` names no run"
    runs = (run, find_run(client, again))
    told = [StoredRun(each.info.run_id, each.data.tags, each.data.metrics) for each in runs]
    return why_not_reproduced(*told, team_policy())


def _created(client: "MlflowClient", model: str) -> bool:
    """Create the registered *model* if there is none; return whether there was none."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


def _registered(client: "MlflowClient", model: str, run_id: str, model_id: str) -> tuple[str, bool]:
    """Return the version of *model* that is this model, and whether it is registered only now."""
    source = f"models:/{model_id}"
    for version in client.search_model_versions(f"run_id = '{run_id}'"):
        if version.name == model and version.source == source:
            return str(version.version), False
    return str(client.create_model_version(model, source, run_id=run_id, model_id=model_id).version), True
