"""Variables that MLflow reads when it is imported or sends a request. A variable that is set already wins."""

DEFAULTS = {
    # MLflow reports its use to its makers; a training run sends requests to the team's server only.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # MLflow prints the run's URL, which takes a request; our commands print it.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow waits four minutes for a server: too long for a person. What a run says does not wait, see delivery/.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # which may be an hour
}
