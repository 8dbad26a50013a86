"""Records a run for each kind of imported code and each way to import it; prints {name of the run: error or null}."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import mlflow
from reproducibility import (
    PROJECT_ROOT,
    Refused,
    log_reproducibility_info,
    tracked_run,
    validate_required_tags,
)

VALUES = {"experiment_name": "code", "seed": 1, "data": {"path": "data/penguins.csv"}}
errors = {}


@contextmanager
def outcome(name: str, *modules: str) -> Iterator[None]:
    """Keep the error that the block raises, and forget the modules that it imported."""
    errors[name] = None
    try:
        yield
    except Refused as refused:
        errors[name] = f"{type(refused).__name__}: {refused}"
    for module in modules:
        sys.modules.pop(module, None)


for module in ("changed_code", "untracked_code", "installed_code", "ignored_code", "outside_code"):
    with outcome(f"{module} inside", module), tracked_run(VALUES, run_name=f"{module} inside"):
        import_module(module)

for module in ("ignored_code", "outside_code"):
    with outcome(f"{module} before", module):
        import_module(module)
        with tracked_run(VALUES, run_name=f"{module} before"):
            pass
    # As in the lecture: the experiment starts the run by itself.
    with outcome(f"{module} own run", module), mlflow.start_run(run_name=f"{module} own run"):
        log_reproducibility_info()
        import_module(module)
        validate_required_tags()

base = PROJECT_ROOT / "configs" / "base.yaml"
policy = base.read_text("utf-8")
assert "environment_drift: refuse" in policy
base.write_text(policy.replace("environment_drift: refuse", "environment_drift: record"), encoding="utf-8")
with outcome("outside_code recorded", "outside_code"), tracked_run(VALUES, run_name="outside_code recorded"):
    import_module("outside_code")

print(json.dumps(errors))
