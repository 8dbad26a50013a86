"""A failure: why a run ended before its end, in one line that can be recorded and shown."""

import re

from .interruption import Terminated
from .secret import secrets_in
from .url import without_credentials

FAILURE_TAG = "failure"
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)


def reason(error: BaseException) -> str:
    """Return why a run that *error* went through did not reach its end, in at most 500 characters."""
    if isinstance(error, Terminated):
        return f"terminated by {error.signal}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted with Ctrl-C"
    if isinstance(error, SystemExit):
        return f"sys.exit({error.code!r}) before the end of the run"
    if isinstance(error, GeneratorExit):
        return "left before its block began"
    return recordable(f"{type(error).__name__}: {error}")


def recordable(text: object) -> str:
    """Return *text*, cut after 500 characters, without what looks like a secret and without what UTF-8 cannot write."""
    clean = _URL.sub(lambda url: without_credentials(url[0]), str(text))
    for secret, kind in secrets_in(clean.encode("utf-8", "replace")).items():
        clean = clean.replace(secret.decode("utf-8", "replace"), f"({kind})")
    return clean[:500].encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def is_outage(error: BaseException) -> bool:
    """Whether *error* is the MLflow client giving up on a server, not one of its complaints about what was logged."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and str(error).startswith("API request to")
