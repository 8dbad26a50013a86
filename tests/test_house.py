"""The house of the machinery: imports go one way, the pure rooms are pure, and the user has one front door."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parent.parent / "<<cookiecutter.project_slug>>" / "packages"
SOURCE = PACKAGES / "reproducibility" / "src"
USER_ROOMS = PACKAGES.parent / "src" / "<<cookiecutter.package_name>>"

# From top to bottom. A room imports what is below it; rooms of one line do not import each other.
ROOMS = """
cli command
checklist container
update
sweep
reproduce
comparison gate
tracking
delivery
provenance
project
rules
policy evidence
config git ending
lockfile display tags digest secrets process mlflow_defaults
errors
"""
RANK = {room: rank for rank, line in enumerate(ROOMS.split("\n")) for room in line.split()}

PURE = ("rules", "policy", "evidence")
# What pure code may not use, not even through what it imports.
OUTSIDE = {
    "mlflow",
    "subprocess",
    "socket",
    "urllib",
    "http",
    "tempfile",
    "shutil",
    "sqlite3",
    "random",
    "secrets",
    "time",
}
READS_OR_WRITES = {"open", "read_bytes", "read_text", "write_bytes", "write_text", "unlink", "mkdir", "stat"}

Sources = Mapping[str, str]  # {"git.state": text of git/state.py, ...}


@pytest.fixture(scope="module")
def sources() -> Sources:
    """Every module of the machinery but the empty ones."""
    folder = SOURCE / "reproducibility"
    named = {path.relative_to(folder).with_suffix(""): path.read_text("utf-8") for path in folder.rglob("*.py")}
    return {".".join(path.parts): text for path, text in named.items() if text}


def own_imports(sources: Sources, module: str) -> set[str]:
    """Return the modules of the machinery that *module* imports anywhere, also inside a function."""
    found = set()
    for node in ast.walk(ast.parse(sources[module])):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[2] for name in node.names if name.name.startswith("reproducibility.")}
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")[: -node.level] if node.level else []
            parts += node.module.split(".") if node.module else []
            if not node.level and parts.pop(0) != "reproducibility":
                continue
            # `from .config import loader` imports a module, `from .config.loader import load` a name of a module.
            candidates = {".".join([*parts, name.name]) for name in node.names}
            found |= candidates & sources.keys() or {".".join(parts)}
    return found


def outside_imports(source: str) -> set[str]:
    """Return the top level of every absolute import."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def upward_imports(sources: Sources) -> list[str]:
    """Return ``importer -> imported`` for each import that does not lead to a lower room or stay in its own."""
    return [
        f"{module} -> {imported}"
        for module in sources
        if module != "__init__"
        for imported in own_imports(sources, module)
        if (here := module.partition(".")[0]) != (there := imported.partition(".")[0]) and RANK[here] >= RANK[there]
    ]


def in_a_circle(sources: Sources) -> set[str]:
    """Return the modules that import themselves through others."""
    imports = {module: own_imports(sources, module) & sources.keys() for module in sources}
    while free := {module for module, needed in imports.items() if not needed & imports.keys()}:
        imports = {module: needed for module, needed in imports.items() if module not in free}
    return set(imports)


def reachable(sources: Sources, module: str) -> set[str]:
    """Return *module* and every module that it imports, directly or through others."""
    found, new = set(), {module}
    while new:
        found |= new
        new = {imported for each in new for imported in own_imports(sources, each)} & sources.keys() - found
    return found


def impurities(sources: Sources, pure: str) -> Iterator[str]:
    """Yield what makes a module impure: rooms that do I/O, libraries that do, and reading or writing a file."""
    for module in reachable(sources, pure):
        if module.partition(".")[0] in ("git", "provenance", "project", "tracking", "gate"):
            yield f"{pure} reaches {module}"
        banned = OUTSIDE | ({"os", "pathlib", "io", "sys"} if module == pure else set())
        yield from (f"{module} imports {library}" for library in sorted(outside_imports(sources[module]) & banned))
        for node in ast.walk(ast.parse(sources[module])):
            if isinstance(node, ast.Call) and called(node) in READS_OR_WRITES:
                yield f"{module} calls {called(node)} in line {node.lineno}"


def called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def private_names_of_mlflow(source: str) -> set[str]:
    """Return the names with an underscore that a module takes from MLflow, its private variables included."""
    tree = ast.parse(source)
    found, modules = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {name.asname or name.name for name in node.names if name.name.partition(".")[0] == "mlflow"}
            found |= {name.name for name in node.names if name.name.startswith("mlflow.") and "._" in name.name}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module.partition(".")[0] == "mlflow":
            modules |= {name.asname or name.name for name in node.names}
            found |= {name.name for name in node.names if name.name.startswith("_")}
            found |= {node.module} if "._" in node.module else set()
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("_MLFLOW"):
            found.add(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = ast.unparse(node.value)
            found |= {node.attr} if owner in modules or owner.startswith("mlflow.") else set()
    return found


def test_imports_go_one_way(sources: Sources) -> None:
    assert not upward_imports(sources)


def test_no_module_imports_itself_in_a_circle(sources: Sources) -> None:
    assert not in_a_circle(sources)


def test_an_import_against_the_rule_is_found(sources: Sources) -> None:
    upward = {**sources, "git.state": "def state():\n    from ..tracking import store\n"}
    assert upward_imports(upward) == ["git.state -> tracking.store"]
    beside = {**sources, "comparison.diff": "from ..gate.store import Gated\n"}
    assert upward_imports(beside) == ["comparison.diff -> gate.store"]
    absolute = {**sources, "digest": "import reproducibility.tags\nfrom reproducibility.policy import Policy\n"}
    assert sorted(upward_imports(absolute)) == ["digest -> policy", "digest -> tags"]
    circle = {**sources, "git.command": "from . import state\n", "git.state": "from .command import git\n"}
    assert {"git.command", "git.state"} <= in_a_circle(circle)


@pytest.mark.parametrize("module", PURE)
def test_what_decides_is_pure(sources: Sources, module: str) -> None:
    assert not list(impurities(sources, module))


def test_impure_code_is_found(sources: Sources) -> None:
    def found(module: str, text: str) -> list[str]:
        return list(impurities({**sources, module: f"{text}\n{sources[module]}"}, "rules"))

    assert found("rules", "import os") == ["rules imports os"]
    assert found("policy", "from .project import PROJECT_ROOT")
    assert found("digest", "import subprocess") == ["digest imports subprocess"]
    assert found("errors", "open('x')") == ["errors calls open in line 1"]
    assert found("config.yaml", "Path('x').read_text()") == ["config.yaml calls read_text in line 1"]


def test_only_the_gate_and_two_modules_use_private_names_of_mlflow(sources: Sources) -> None:
    found = {module: private_names_of_mlflow(text) for module, text in sources.items()}
    # `tracking.fluent` replaces a function of MLflow, and tests/test_parallel.py shows that MLflow calls it.
    assert "fluent._get_or_start_run" in sources["tracking.fluent"]
    # `delivery` checks what a run logs with the functions of MLflow's server, and saves a request for each run's place.
    allowed = {"delivery.limits", "delivery.artifacts"}
    assert {module for module, names in found.items() if names and not module.startswith("gate.")} == allowed
    assert {"_get_store", "_get_tracking_store", "_MLFLOW_SERVER_FILE_STORE"} <= set().union(*found.values())


@pytest.mark.parametrize(
    "text",
    [
        "import mlflow\nmlflow.tracking._get_store()",
        "import mlflow.tracking as t\nt._get_store()",
        "from mlflow.utils import validation\nvalidation._validate_model_name('x')",
        "from mlflow.tracking._tracking_service import utils",
        "import mlflow.tracking._tracking_service.utils",
        "from mlflow.utils.validation import _validate_model_name",
        "import os\nos.environ['_MLFLOW_SERVER_FILE_STORE']",
    ],
)
def test_a_private_name_of_mlflow_is_found(text: str) -> None:
    assert private_names_of_mlflow(text)


def test_the_users_package_holds_the_users_code_and_nothing_else() -> None:
    assert {path.name for path in USER_ROOMS.iterdir() if path.name != "__pycache__"} == {
        *("__init__.py", "config.py", "data.py", "model.py", "experiment.py"),
    }


def test_the_users_code_imports_the_machinery_through_its_front_door() -> None:
    front = ast.literal_eval(
        next(
            ast.unparse(node.value)
            for node in ast.parse((SOURCE / "reproducibility/__init__.py").read_text("utf-8")).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_MODULE_OF"
        )
    )
    scripts = [PACKAGES.parent / "scripts/train.py", PACKAGES.parent / "templates/experiment.py"]
    used = set()
    for path in [*USER_ROOMS.glob("*.py"), *scripts]:
        # The scripts name the user's package, which only an answer gives.
        text = path.read_text("utf-8").replace("<< cookiecutter.package_name >>", "package")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                assert not any(name.name.startswith("reproducibility") for name in node.names), path
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("reproducibility"):
                assert node.module == "reproducibility", path
                used |= {name.name for name in node.names}
    assert used
    assert used <= front.keys()


def test_help_waits_for_no_library_that_it_does_not_need() -> None:
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "scripts/print_help.py"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: repro" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
