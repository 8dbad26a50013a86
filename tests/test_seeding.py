"""Seeding: processes with one seed draw the same numbers, from every library in use and in their children."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from workbench import Workbench

# Draws from each source after seeding; numpy is imported afterwards, and `hash` is asked in a child.
DRAW = """
import json, random, subprocess, sys
from reproducibility.provenance.seeding import plan
seeding = plan(int(sys.argv[1]))
seeding.apply()
import numpy
child = subprocess.check_output([sys.executable, "-c", "print(hash('text'))"], text=True)
print(json.dumps({
    "libraries": seeding.libraries, "random": random.random(), "numpy": numpy.random.rand(3).tolist(), "hash": child,
}))
"""


@pytest.fixture(scope="module")
def drawn(run_in: Callable[..., CompletedProcess[str]], project: Path) -> Callable[[int], dict]:
    workbench = Workbench(run_in, project)

    def draw(seed: int) -> dict:
        done = workbench.python(DRAW, str(seed), env={"PYTHONHASHSEED": None})
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return draw


def test_two_processes_with_one_seed_draw_the_same(drawn: Callable[[int], dict]) -> None:
    first = drawn(7)
    assert first == drawn(7)
    assert "numpy" in first["libraries"]


def test_another_seed_draws_other_numbers_everywhere(drawn: Callable[[int], dict]) -> None:
    first, other = drawn(7), drawn(8)
    assert [source for source in ("random", "numpy", "hash") if first[source] == other[source]] == []


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_smallest_and_the_largest_seed_are_taken_by_all(drawn: Callable[[int], dict], seed: int) -> None:
    assert drawn(seed)["random"] == drawn(seed)["random"]
