"""What the tests share: the sample config, and a tracking store of their own, so that no test writes to the team's."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from reproducibility import PROJECT_ROOT, load

from << cookiecutter.package_name >>.config import ExperimentConfig

EXPERIMENT = PROJECT_ROOT / "configs" / "experiment.yaml"


@pytest.fixture
def config() -> ExperimentConfig:
    """The sample experiment, made small."""
    return load(EXPERIMENT, ExperimentConfig, ["model.n_estimators=5"])


@pytest.fixture
def run_command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python` or `repro` of this environment as a user would, against an empty tracking store."""
    programs = str(Path(sys.executable).parent)

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        own = {"MLFLOW_TRACKING_URI": f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}", "AUTHOR": "the tests"}
        return subprocess.run(
            [shutil.which(program, path=programs), *arguments],
            cwd=PROJECT_ROOT,
            env=os.environ | own,
            capture_output=True,
            text=True,
        )

    return run
