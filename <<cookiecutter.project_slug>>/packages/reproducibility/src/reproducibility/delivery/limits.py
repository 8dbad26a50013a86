"""What MLflow refuses in a run: told at the call, as MLflow tells it, and not when the entry is shipped.

MLflow's server checks what it gets with these functions, and the pinned MLflow has no public ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.utils.validation import (
    _validate_batch_log_data,
    _validate_batch_log_limits,
    _validate_metric,
    _validate_param_keys_unique,
)

from ..rules import change_refusal

check_metric = _validate_metric


def checked(metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Return what MLflow keeps of a batch, which may be shorter than what was given; raises MlflowException."""
    metrics, params, tags = _validate_batch_log_data(metrics, params, tags)
    _validate_batch_log_limits(metrics, params, tags)
    _validate_param_keys_unique(params)
    return metrics, params, tags


def require_same(known: Mapping[str, str], key: str, value: str, run_id: str) -> None:
    """Raise MlflowException if the param *key* of the run has another value already."""
    if (old := known.get(key, value)) != value:
        raise MlflowException(
            f"Changing param values is not allowed. Param with key='{key}' was already logged with value='{old}' "
            f"for run ID='{run_id}'. Attempted logging new value '{value}'.",
            INVALID_PARAMETER_VALUE,
        )


def refuse_entry(run_id: str) -> NoReturn:
    """Raise MlflowException for what is logged into a run that has ended on this machine, as the gate does."""
    what = "it takes no more metrics, params, files, inputs or models"
    raise MlflowException(str(change_refusal(what, run_id, "here")), INVALID_PARAMETER_VALUE)
