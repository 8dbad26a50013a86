"""A run that is begun offline: what stands for the experiment and the addresses that only its server can give."""


def experiment_id(name: str | None) -> str:
    """Return what stands for the id of the experiment *name* in a run that was begun offline."""
    return f"offline/{name}"


def experiment_name(experiment_id: str) -> str | None:
    """Return the name of the experiment that *experiment_id* stands for; None if it is an id that a server gave."""
    return experiment_id.removeprefix("offline/") if experiment_id.startswith("offline/") else None


def artifact_uri(path: str) -> str:
    """Return what stands for the address of *path*, below the experiment's artifacts, in a run begun offline."""
    return f"mlflow-artifacts:/offline/{path}"
