"""The first commands of the READMEs, on a system whose own Python refuses `pip install`, such as Debian 12."""

import subprocess
from pathlib import Path

import pytest


def first_command(readme: Path) -> str:
    """Return what stands in the first code block, up to nox itself."""
    block = readme.read_text("utf-8").split("```")[1].strip()
    command, _, nox = block.replace("\n", " && ").partition(" && nox -s ")
    assert nox in ("train", "demo")
    return command


@pytest.fixture(scope="module")
def system(clean_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of somebody new, whose only Python is that of the system."""
    if not Path("/usr/lib/python3.11/EXTERNALLY-MANAGED").exists():
        pytest.skip("no system Python 3.11 that refuses `pip install`: Debian 12 has one, with python3-venv")
    home = tmp_path_factory.mktemp("home")
    return clean_env | {"HOME": str(home), "PATH": "/usr/bin:/bin"}


def test_both_readmes_say_the_same_and_it_works_where_pip_refuses(
    system: dict[str, str], project: Path, template: Path, fresh_project: Path
) -> None:
    refused = subprocess.run(["python3", "-m", "pip", "install", "nox"], env=system, capture_output=True, text=True)
    assert "externally-managed-environment" in refused.stderr
    command = first_command(project / "README.md")
    assert first_command(template / "README.md") == command
    done = subprocess.run(["bash", "-c", command], env=system, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    # As pipx offers nox: its environment is not active, so the uv beside nox is not on PATH.
    nox = Path(system["HOME"], ".nox", "bin", "nox")
    done = subprocess.run([nox, "-s", "dev", "lock"], cwd=fresh_project, env=system, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (fresh_project / ".venv" / "bin" / "repro").exists()
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=fresh_project, env=system, capture_output=True)
    assert changed.stdout == b""
