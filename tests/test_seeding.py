"""Seeding: processes with one seed draw the same numbers, from every library in use and in their children."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from workbench import Workbench


@pytest.fixture(scope="module")
def drawn(run_in: Callable[..., CompletedProcess[str]], project: Path) -> Callable[..., list[dict]]:
    """`drawn(7, ...)`: what a new process draws after seeding with 7, and then with each further seed."""
    workbench = Workbench(run_in, project)

    def draw(*seeds: int) -> list[dict]:
        done = workbench.script("draw.py", *map(str, seeds), env={"PYTHONHASHSEED": None}, fresh=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return draw


def test_two_processes_with_one_seed_draw_the_same_and_with_another_seed_nothing_is_the_same(
    drawn: Callable[..., list[dict]],
) -> None:
    [first], [again], [other] = drawn(7), drawn(7), drawn(8)
    assert first == again
    assert "numpy" in first["libraries"]
    assert [source for source in ("random", "numpy", "hash") if first[source] == other[source]] == []


def test_the_smallest_and_the_largest_seed_are_taken_by_all(drawn: Callable[..., list[dict]]) -> None:
    smallest, largest, smallest_again, largest_again = drawn(0, 2**32 - 1, 0, 2**32 - 1)
    for source in ("random", "numpy"):
        assert smallest[source] == smallest_again[source] != largest[source] == largest_again[source]
