"""What would break with another MLflow: python mlflow_difference.py PYTHON, whose environment has that version.

Prints a line for each thing that the machinery relies on and that is different there, and for each route that has no
class in mlflow_routes.txt. Ends with status 1 if there is such a line.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlflow_contract import CHECKING, METHODS, NAMES, STORE

HERE = Path(__file__).parent
# So that MLflow makes its app with logins, which has every route.
LOGINS = "[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{0}/logins.db\n"
LOGINS += "admin_username = admin\nadmin_password = staple of the horse\n"


def differences(python: str | Path) -> Iterator[str]:
    """Yield what is different in the MLflow of *python*, a line for each thing."""
    asked = {"methods": {place: list(names) for place, names in METHODS.items()}, "names": NAMES}
    found = answer(python, "mlflow_contract.py", json.dumps(asked | {"checking": [STORE, CHECKING]}))
    for place, methods in METHODS.items():
        for name, parameters in methods.items():
            there = found["methods"][place][name]
            # More parameters at the end are no difference: the gate passes them on.
            if there is None or there[: len(parameters)] != parameters:
                is_there = f"has the parameters {', '.join(there)}" if there else "is missing"
                yield f"{place} {name} {is_there}; the gate replaces or calls it with {', '.join(parameters)}"
    for name in CHECKING:
        if name not in found["checking"]:
            yield f"{STORE} {name} does not ask _check_run_is_active, so the gate would not see what it writes"
    for module, names in NAMES.items():
        for name in names:
            if name not in found["names"][module]:
                yield f"{module} has no {name}"
    table = {(method, path) for _, method, path in classes()}
    there = routes(python)
    for method, path in sorted(there - table, key=lambda route: route[::-1]):
        yield f"{method} {path} has no class in tests/mlflow_routes.txt"
    for method, path in sorted(table - there, key=lambda route: route[::-1]):
        yield f"{method} {path} is gone"


def classes() -> list[list[str]]:
    """Return the lines of mlflow_routes.txt: [class, method, path]."""
    return [line.split() for line in (HERE / "mlflow_routes.txt").read_text("utf-8").splitlines()]


def routes(python: str | Path) -> set[tuple[str, str]]:
    """Return the routes of the MLflow of *python*, with logins; /api/ stands for /ajax-api/ too."""
    found = answer(python, "mlflow_routes.py")
    pairs = {(method, path.replace("/ajax-api/", "/api/")) for method, path in found}
    return {(method, path) for method, path in pairs if method not in ("HEAD", "OPTIONS")}


def answer(python: str | Path, script: str, *arguments: str) -> object:
    """Run a script of tests/scripts with *python*; return what it prints as JSON. Raises RuntimeError if it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "_MLFLOW_", "PYTHON"))}
    kept["PYTHONDONTWRITEBYTECODE"] = "1"  # the machinery lies in a project that other tests read
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "logins.ini").write_text(LOGINS.format(folder), "utf-8")
        env = {"MLFLOW_AUTH_CONFIG_PATH": f"{folder}/logins.ini", "MLFLOW_FLASK_SERVER_SECRET_KEY": "x"}
        env |= {"_MLFLOW_SGI_NAME": "uvicorn", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/runs.db"}
        command = [python, "-W", "ignore", HERE / "scripts" / script, *arguments]
        done = subprocess.run(command, env=kept | env, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"{script} ended with status {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    lines = list(differences(sys.argv[1]))
    print("\n".join(lines) or "nothing that the machinery relies on is different")
    sys.exit(1 if lines else 0)
