"""The project: where it is, and what its team has laid down for every run."""

from pathlib import Path
from typing import Any

from .config_file import load_section, read_defaults
from .environment import LOCK, pins
from .policy import Policy

# The root of the project whose code is running, wherever the process was started: src/<package>/reproducibility/ is
# three folders down. Never the working directory or argv[0]: they say where somebody stood, not which code ran.
PROJECT_ROOT = Path(__file__).resolve().parents[3]
BASE_CONFIG = PROJECT_ROOT / "configs" / "base.yaml"
# What can be computed again and is only kept because it takes time; git ignores it.
CACHE = PROJECT_ROOT / ".cache"


def team_policy(path: Path = BASE_CONFIG) -> Policy:
    """Read the section ``policy`` of configs/base.yaml; raises Refused when it is missing or wrong."""
    return load_section(path, "policy", Policy)


def team_defaults() -> dict[str, Any]:
    """Return the values of configs/base.yaml that every experiment starts from."""
    return read_defaults(BASE_CONFIG)


def locked_requirements() -> list[str]:
    """Return what the lock pins for this interpreter, as ``name==version``: the requirements of a model trained here.

    Without hashes: MLflow adds a line without one where it overlooks itself, and pip wants hashes on all or none.
    """
    return [f"{name}=={version}" for name, version in pins(LOCK, (PROJECT_ROOT / LOCK).read_bytes()).items()]
