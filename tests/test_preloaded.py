"""Commands of the tests end as they would in a process of their own, also when a fork stands in for one."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from workbench import SCRIPTS


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_command_that_was_killed_is_not_taken_for_a_late_one(
    run_in: Callable[..., CompletedProcess[str]], project: Path
) -> None:
    assert run_in(project, "python", SCRIPTS / "killed.py", timeout=600).returncode == -signal.SIGKILL
