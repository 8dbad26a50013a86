"""Print as JSON what this MLflow has of a contract: python mlflow_contract.py JSON. See tests/mlflow_contract.py.

Asked for {"methods": {place: [names]}, "checking": [place, names], "names": {module: [names]}}; what MLflow lacks is
null in "methods" and missing in the others.
"""

import inspect
import json
import sys
from importlib import import_module
from typing import Any


def found(module: str, *names: str) -> Any:
    """Return what *names* lead to in *module*, each an attribute of the one before; None if something is missing."""
    try:
        thing = import_module(module)
    except ImportError:
        return None
    for name in names:
        thing = getattr(thing, name, None)
    return thing


def parameters(place: str, name: str) -> list[str] | None:
    method = found(*place.split(":"), name)
    return None if method is None else list(inspect.signature(method).parameters)


asked = json.loads(sys.argv[1])
place, names = asked["checking"]
answer = {
    "methods": {place: {name: parameters(place, name) for name in names} for place, names in asked["methods"].items()},
    "checking": [
        name
        for name in names
        if (method := found(*place.split(":"), name)) and "_check_run_is_active" in inspect.getsource(method)
    ],
    "names": {
        module: [name for name in names if found(module, name) is not None] for module, names in asked["names"].items()
    },
}
print(json.dumps(answer))
