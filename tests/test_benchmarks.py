"""Each benchmark still runs: once, on little data, and without the peers that would have to be installed."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import TEMPLATE

sys.path.insert(0, str(TEMPLATE))
from benchmarks import PARTS, container
from benchmarks.table import All, Section, to_markdown
from benchmarks.workshop import Workshop


@pytest.fixture(scope="module")
def workshop(
    python: Path,
    bare_python: Path,
    server_python: Path,
    sweep_python: Path,
    clean_env: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Workshop:
    made = {"child": python.parent, "bare": bare_python.parent, "gated server": server_python.parent}
    made["sweep"] = sweep_python.parent
    kept = {name: clean_env[name] for name in ("PYTHONPYCACHEPREFIX", "REPRODUCIBILITY_CACHE")}
    return Workshop(tmp_path_factory.mktemp("workshop"), smoke=True, made=made, settings=kept)


# The image takes minutes where nothing is in the engine's cache; tests/test_container.py builds it.
@pytest.mark.parametrize("part", [part for part in PARTS if part is not container], ids=lambda part: part.__name__)
def test_benchmark_runs(part: ModuleType, workshop: Workshop) -> None:
    section: Section = part.measure(workshop)
    assert section.rows
    for row in section.rows:
        assert row.ours is not None, row.what
        assert row.theirs is not None or row.missing == "left out", row.what
        if isinstance(row.aim, All):  # on little data, too, nothing may be missing
            assert row.ours == row.theirs, row.what
    assert f"## {section.title}" in to_markdown([section])


def test_peer_of_the_training_image_has_the_lock_and_no_code(project: Path) -> None:
    dockerfile = container.lock_only((project / "Dockerfile").read_text("utf-8"))
    assert "--requirement requirements.txt" in dockerfile
    assert "--editable" not in dockerfile
