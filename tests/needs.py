"""What some tests need beside Python and git, and how to get it: the reasons that `nox -s tests` lists at its end."""

from typing import NoReturn

import pytest

_NEEDS = {
    "act": "act, which runs workflow files: https://nektosact.com/installation",
    "compose": "Docker Compose: its plugin for Docker, docker-compose, or podman compose",
    "dvc": "DVC: pip install dvc, in an environment of its own",
    "engine": "a container engine that answers: Docker or Podman (CONTAINER_ENGINE names one)",
    "images": "the images of compose.yaml, or the programs to stand in for them: an image registry that answers",
    "networks": "iptables or nft, with which Podman makes networks: apt install iptables",
    "postgresql": "PostgreSQL's server programs: apt install postgresql",
}


def skip_without(need: str, detail: str = "") -> NoReturn:
    """Skip the test that runs: this machine lacks *need*, a key above. detail: what exactly, as a clause."""
    pytest.skip(f"needs {_NEEDS[need]}{f' ({detail})' if detail else ''}")


def skip_without_python(version: str) -> NoReturn:
    """Skip the test that runs: this machine has no Python *version*."""
    pytest.skip(f"needs Python {version} on PATH: uv python install {version}")
