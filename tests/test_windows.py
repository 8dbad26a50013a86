"""What Windows does differently, as far as any machine can show it."""

import ast
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from reproducibility.container import run
from reproducibility.delivery import journal
from reproducibility.errors import Refused
from test_house import SOURCE


def test_no_file_is_opened_in_a_mode_that_changes_line_ends() -> None:
    """`os.open` on Windows adds carriage returns, unless O_BINARY is among the flags or `open` takes the descriptor."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        text = path.read_text("utf-8")
        calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        if any(ast.unparse(call.func) == "os.open" for call in calls) and "os.write(" in text:
            assert "O_BINARY" in text, path
            found.add(path.name)
    assert found == {"journal.py"}


@pytest.mark.parametrize("path", [PureWindowsPath(r"C:\data\a.csv"), PureWindowsPath(r"\\server\share\a.csv")])
def test_a_path_that_no_container_has_is_refused(path: PureWindowsPath) -> None:
    with pytest.raises(Refused, match=r"data.path: .* is a path of Windows, and means nothing in a container"):
        run._in_container("data.path", path)


@pytest.mark.parametrize("path", [PureWindowsPath(r"data\a.csv"), PurePosixPath("data/a.csv")])
def test_a_path_in_the_project_is_the_same_in_a_container(path: PurePosixPath | PureWindowsPath) -> None:
    assert run._in_container("data.path", path) == "/app/data/a.csv"


def test_a_journal_that_windows_could_not_remove_whole_is_removed_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(journal.JOURNAL_VARIABLE, str(tmp_path))
    for name in ("kept", "left"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shipping.lock").touch()
    (tmp_path / "kept" / "run.json").touch()
    journal.remove_leftovers()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
