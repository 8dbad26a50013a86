"""Records a run for each kind of imported code and each way to import it; prints {name of the run: error or null}."""

import json
import sys
from importlib import import_module

import mlflow
from attempts import attempt, errors
from reproducibility import PROJECT_ROOT, log_reproducibility_info, tracked_run, validate_required_tags

VALUES = {"experiment_name": "code", "seed": 1, "data": {"path": "data/penguins.csv"}}

for module in ("changed_code", "untracked_code", "installed_code", "ignored_code", "outside_code"):
    with attempt(name := f"{module} inside"), tracked_run(VALUES, run_name=name):
        import_module(module)
    del sys.modules[module]

for module in ("ignored_code", "outside_code"):
    with attempt(name := f"{module} before"):
        import_module(module)
        with tracked_run(VALUES, run_name=name):
            pass
    del sys.modules[module]
    # As in the lecture: the experiment starts the run by itself.
    with attempt(name := f"{module} own run"), mlflow.start_run(run_name=name):
        log_reproducibility_info()
        import_module(module)
        validate_required_tags()
    del sys.modules[module]

base = PROJECT_ROOT / "configs" / "base.yaml"
policy = base.read_text("utf-8")
assert "environment_drift: refuse" in policy
base.write_text(policy.replace("environment_drift: refuse", "environment_drift: record"), encoding="utf-8")
with attempt("outside_code recorded"), tracked_run(VALUES, run_name="outside_code recorded"):
    import_module("outside_code")

print(json.dumps(errors))
