"""What MLflow's server offers beyond tracking: it answers 404 unless the policy turns it on (`server_features`).

Nothing here is needed to record runs, files and models, or to look at them. Most of it makes the server itself do
something: start programs, call other servers, hold keys of theirs.
"""

import os
import re
from collections.abc import Collection

from mlflow.server.handlers import STATIC_PREFIX_ENV_VAR as PREFIX_VARIABLE

_REST = r"/(?:ajax-)?api/3\.0/mlflow"
# {name in the policy: the beginnings of its paths}
FEATURES = {
    # Starts the command line of a coding assistant, as the user of the server.
    "assistant": (rf"{_REST}/assistant",),
    # Writes experiments and runs of its own.
    "demo": (rf"{_REST}/demo",),
    # Calls providers of language models, with keys that the server holds.
    "gateway": (
        "/gateway",
        rf"{_REST}/gateway",
        r"/(?:ajax-)?api/2\.0/mlflow/gateway-proxy",
        r"/(?:ajax-)?api/2\.0/mlflow/runs/create-promptlab-run",
    ),
    # Starts processes that evaluate and optimize prompts.
    "jobs": (
        r"/(?:ajax-)?api/3\.0/jobs",
        rf"{_REST}/jobs",
        rf"{_REST}/prompt-optimization",
        rf"{_REST}/(?:genai/evaluate|scorer|issues)/invoke",
        rf"{_REST}/scorers/online-configs?",
    ),
    "mcp": (rf"{_REST}/mcp-servers",),
    # Asks MLflow's makers what to send them, and sends what somebody did in the browser.
    "telemetry": (rf"{_REST}/ui-telemetry",),
    # Calls any address that somebody registers.
    "webhooks": (r"/(?:ajax-)?api/2\.0/mlflow/webhooks",),
}


def closed_paths(opened: Collection[str]) -> re.Pattern[str]:
    """Return a pattern that fits the paths of every feature that is not among *opened*, at their beginning."""
    prefix = re.escape(os.environ.get(PREFIX_VARIABLE, "").rstrip("/"))
    paths = [path for name, paths in FEATURES.items() if name not in opened for path in paths]
    return re.compile(f"{prefix}(?:{'|'.join(paths)})(?:/|$)" if paths else r"(?!)")
