"""scikit-learn models that are logged: the policy says which types may be in them, so that user code lists none.

MLflow stores such a model with skops, which loads only types that it was told to trust. It asks for them in each
`log_model(..., skops_trusted_types=...)`, and raises after the whole training if one is missing.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

import click

from ..display import listed, one_line
from ..errors import Refused, Violation
from ..project import team_policy
from ..secrets import recordable
from ..tags import FAILURE_TAG

_SKOPS, _PICKLE = "skops", "cloudpickle"  # formats of MLflow
_refused: dict[str, list[Violation]] = {}


def trust_by_policy() -> None:
    """From now on, `mlflow.sklearn` stores a model with the types that the policy trusts, wherever it is logged.

    With any other type the model is still stored, and everything else can still be recorded: nothing of the training
    is lost. But the run cannot finish, and a warning says so at once. Outside of a run such a model is refused.
    """
    from mlflow.utils.import_hooks import register_post_import_hook

    # Whoever trains without scikit-learn does not wait for its import.
    register_post_import_hook(_replace, "mlflow.sklearn")


def refused_models(run_id: str) -> list[Violation]:
    """Return what the policy does not trust in the models that this process logged in a run."""
    return _refused.get(run_id, [])


def _replace(mlflow_sklearn: ModuleType) -> None:
    if not hasattr(mlflow_sklearn.save_model, "__wrapped__"):  # not by an earlier call
        # `log_model` calls it, too.
        mlflow_sklearn.save_model = _trusting(mlflow_sklearn.save_model)


def _trusting(save: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(save)

    @wraps(save)
    def save_model(*arguments: Any, **options: Any) -> None:
        bound = signature.bind(*arguments, **options)
        given = bound.arguments
        if given.get("serialization_format") in (None, _SKOPS):
            types, violation = _judge(given["sk_model"], given.get("skops_trusted_types") or ())
            if violation:
                _refuse(violation, getattr(given.get("mlflow_model"), "run_id", None))
            if types is None:
                given["serialization_format"] = _PICKLE
            else:
                given["skops_trusted_types"] = types or None
        save(*bound.args, **bound.kwargs)

    return save_model


def _judge(model: Any, trusted_by_code: Any) -> tuple[list[str] | None, Violation | None]:
    """Return the types of *model* that skops has to be told to trust, and what the policy does not trust of them.

    The types are None if skops cannot store the model.
    """
    import skops.io

    try:
        stored = skops.io.dumps(model)
        types = skops.io.get_untrusted_types(data=stored)
        skops.io.loads(stored, trusted=types)
    except Exception as error:  # of any kind: an object may fail in its own code
        problem = f"skops cannot store {type(model).__name__} ({one_line(str(error), 200)})"
        fix = "define its functions and classes in src/ (a `lambda` becomes a `def`), "
        fix += f'or log it with serialization_format="{_PICKLE}", '
        return None, Violation("model", problem, f"{fix}if whoever loads the model may run its code")
    trusted = (*team_policy().trusted_model_types, *(str(each) for each in trusted_by_code))
    unknown = [name for name in types if not any(f"{name}.".startswith(f"{prefix}.") for prefix in trusted)]
    if not unknown:
        return types, None
    packages = sorted({name.partition(".")[0] for name in unknown})
    fix = f"add {listed(packages)} to policy.trusted_model_types in configs/base.yaml"
    if "__main__" in packages:
        fix = "define it in src/: nobody else can load what a script or a notebook defines"
    return types, Violation("model", f"it has types that the policy does not trust: {listed(unknown)}", fix)


def _refuse(violation: Violation, run_id: str | None) -> None:
    """Let the run *run_id*, or else the active run, fail at its end; raises Refused without a run."""
    import mlflow

    active = mlflow.active_run()
    run_id = run_id or (active and active.info.run_id)
    if run_id is None:
        raise Refused([violation])
    click.echo(f"Warning: run {run_id} will end FAILED. {violation}", err=True)
    _refused.setdefault(run_id, []).append(violation)
    mlflow.MlflowClient().set_tag(run_id, FAILURE_TAG, recordable(violation))  # the gate lets no such run finish
