"""The code of an existing repository, read and never run: where it uses MLflow, what it reads, how it is started."""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from reproducibility.secrets import without_credentials

_LARGEST = 1024 * 1024  # bytes; code and configs are smaller
_SUFFIXES = "csv|tsv|parquet|feather|arrow|npy|npz|h5|hdf5|jsonl|xlsx|pkl|pickle|svmlight|arff"
_FILE = re.compile(rf"[\w./~+-]+\.(?:{_SUFFIXES})(?:\.gz)?\b")
_ADDRESS = re.compile(rf"[a-z][a-z0-9+]+://[^\s\"'<>]+\.(?:{_SUFFIXES})(?:\.gz)?\b")
_STORE = re.compile(r"set_tracking_uri\(\s*[rbf]?[\"']([^\"'\n]{1,300})[\"']")
_SEED = re.compile(r"\bseed\(\s*(\d{1,9})\s*\)|\b(?:seed|SEED|random_state)\s*[:=]\s*(\d{1,9})\b")
_TEXT = (".py", ".ipynb", ".yaml", ".yml", ".toml", ".sh", ".cfg", ".ini")
# How a script takes what a user sets, by what it imports; the first one that fits counts.
_TAKES = {"hydra": "Hydra", "argparse": "argparse", "click": "click", "typer": "typer", "absl": "absl", "fire": "fire"}


@dataclass(frozen=True)
class Script:
    """A file with MLflow in it.

    line: where its first run begins; None if it only logs. block: whether that is ``with mlflow.start_run()``.
    takes: how it takes arguments, in one word. arguments: the name of what argparse returned. starts: whether it is
    started itself; a module is imported by something that is.
    """

    path: str
    line: int | None
    block: bool
    takes: str
    arguments: str | None
    starts: bool


@dataclass(frozen=True)
class Code:
    """What the code says of itself.

    data: files that exist, from the repository's root. addresses: data elsewhere. stores: without credentials.
    seed: the first one that is written in a file with MLflow, 42 if there is none. unread: files that are no Python
    of this version.
    """

    scripts: tuple[Script, ...]
    notebooks: tuple[str, ...]
    data: tuple[str, ...]
    addresses: tuple[str, ...]
    stores: tuple[str, ...]
    seed: int
    unread: tuple[str, ...]


def read_code(root: Path, files: Iterable[str]) -> Code:
    """Read the *files*, posix paths from *root*. Links and tests are left out; nothing is imported or run."""
    scripts, notebooks, unread, seeds = [], [], [], []
    data: dict[str, None] = {}
    addresses: dict[str, None] = {}
    stores: dict[str, None] = {}
    for name in files:
        path = root / name
        if not name.endswith(_TEXT) or "tests" in PurePosixPath(name).parts[:-1] or path.is_symlink():
            continue
        if (text := _text(path)) is None:
            continue
        data |= dict.fromkeys(_data_in(root, path.parent, text))
        addresses |= dict.fromkeys(_ADDRESS.findall(text))
        seeds += [int(one or other) for one, other in _SEED.findall(text)] if "mlflow" in text else []
        stores |= dict.fromkeys(_STORE.findall(text))
        if name.endswith(".ipynb") and "mlflow" in text:
            notebooks.append(name)
        elif name.endswith(".py") and "mlflow" in text:
            try:
                script = _script(name, ast.parse(text))
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                unread.append(name)
            else:
                scripts += [script] if script else []
    return Code(
        scripts=tuple(scripts),
        notebooks=tuple(notebooks),
        data=tuple(data),
        addresses=tuple(addresses),
        stores=tuple(map(without_credentials, stores)),
        seed=next(iter(seeds), 42),
        unread=tuple(unread),
    )


def _text(path: Path) -> str | None:
    """Return the text of a file, the code cells of a notebook; None for what is neither text nor small."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        text = path.read_text("utf-8")
        if path.suffix != ".ipynb":
            return text
        cells = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        return "\n".join("".join(source) for source in cells)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _data_in(root: Path, folder: Path, text: str) -> Iterator[str]:
    """Yield each file of data that *text*, of a file in *folder*, names and that lies below *root*."""
    for named in _FILE.findall(text):
        for place in (root, folder):
            try:
                path = (place / named).resolve()
                if path.is_file() and path.is_relative_to(root):
                    yield path.relative_to(root).as_posix()
                    break
            except (OSError, ValueError):
                continue


def _script(name: str, tree: ast.Module) -> Script | None:
    """Return what the module *tree* does with MLflow; None if it does not import MLflow."""
    imported = {each for node in ast.walk(tree) for each in _imported(node)}
    if "mlflow" not in imported:
        return None
    in_blocks = [item.context_expr for node in ast.walk(tree) if isinstance(node, ast.With) for item in node.items]
    blocks = [call.lineno for call in in_blocks if _calls(call) == "start_run"]
    begins = [node.lineno for node in ast.walk(tree) if _calls(node) in ("start_run", "autolog")]
    main = [node for node in tree.body if isinstance(node, ast.If) and "__name__" in ast.dump(node.test)]
    at_once = [
        node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
    ]
    runs = any(_calls(node) == "start_run" for each in at_once for node in ast.walk(each))
    takes = next((_TAKES[library] for library in _TAKES if library in imported), None)
    takes = takes or ("sys.argv" if "argv" in {getattr(node, "attr", "") for node in ast.walk(tree)} else "nothing")
    line = min(blocks or begins, default=None)
    return Script(name, line, bool(blocks), takes, _parsed_name(tree), bool(main) or runs)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module.partition(".")[0]


def _calls(node: ast.AST) -> str:
    """Return the last name of the function that *node* calls; empty if it calls none."""
    if not isinstance(node, ast.Call):
        return ""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def _parsed_name(tree: ast.Module) -> str | None:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Assign)
            and _calls(node.value) == "parse_args"
            and isinstance(node.targets[0], ast.Name)
        ):
            return node.targets[0].id
    return None
