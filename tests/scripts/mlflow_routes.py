"""Print as JSON every route of MLflow's server, with logins: [method, path] of Flask's rules and FastAPI's routes."""

import json

from mlflow.server import app as flask_app
from mlflow.server.auth import create_app

app = create_app(flask_app)
found = [[method, rule.rule] for rule in flask_app.url_map.iter_rules() for method in rule.methods]
for entry in app.routes:
    if router := getattr(entry, "original_router", None):
        prefix = entry.include_context.prefix
        found += [[method, prefix + route.path] for route in router.routes for method in route.methods]
    elif entry.path != "":  # that of Flask's app
        found += [[method, entry.path] for method in entry.methods]
print(json.dumps(found))
