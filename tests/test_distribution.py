"""How `nox -s tests` hands tests out: the tests of one file share a worker, the longest files come first."""

import os
import subprocess
import sys
from pathlib import Path

SAYS_ITS_WORKER = """
import os, pytest
@pytest.mark.parametrize("number", range(4))
def test_worker(number):
    with open({record!r}, "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


def test_the_tests_of_one_file_share_a_worker(template: Path, tmp_path: Path) -> None:
    records = [tmp_path / f"{name}.workers" for name in ("one", "two")]
    for record in records:
        tmp_path.joinpath(f"test_{record.stem}.py").write_text(SAYS_ITS_WORKER.format(record=str(record)))
    # With the options that stand in the template's own pyproject.toml.
    options = ["-c", template / "pyproject.toml", "--rootdir", tmp_path, "-p", "no:cacheprovider", "-n", "2"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    workers = [set(record.read_text().split()) for record in records]
    assert [len(each) for each in workers] == [1, 1]
    assert workers[0] != workers[1]
