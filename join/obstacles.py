"""What keeps a repository from joining, and what its owners have to change themselves: named, and never edited."""

import re
import tomllib
from collections.abc import Iterator

from reproducibility.errors import Violation

from .repository import Installed, Repository

OLDEST = (3, 11)
_READS_LOCK = re.compile(r"requirements\.txt")


def obstacles(repository: Repository, installed: Installed | None) -> Iterator[Violation]:
    """Yield what has to be changed in *repository* before it can join."""
    root = repository.root
    if repository.has("configs/base.yaml"):
        fix = "give that file another name; this one will hold the policy, the seed and the path of the data"
        yield Violation("configs/base.yaml", "the repository has such a file", fix)
    if not repository.sources:
        fix = "write a requirements.in with the packages that the code imports"
        yield Violation("requirements", "neither pyproject.toml nor requirements.txt names its packages", fix)
    if installed and tuple(map(int, installed.python.split("."))) < OLDEST:
        problem = f"its environment has Python {installed.python}, and the machinery needs 3.11"
        yield Violation("python", problem, "train once with a newer Python, and see that the results are the same")
    for name in ("pyproject.toml", "setup.py", "setup.cfg"):
        if (root / name).is_file() and _READS_LOCK.search((root / name).read_text("utf-8", "replace")):
            fix = f"rename it to requirements.in, and name that in {name}: requirements.txt becomes a lock with hashes"
            yield Violation(name, "it reads requirements.txt", fix)
    if problem := _finds_packages_by_itself(repository):
        yield problem


def _finds_packages_by_itself(repository: Repository) -> Violation | None:
    """Return the violation for setuptools that searches a flat repository: it stops at a second top folder."""
    if repository.builds is None or "setuptools" not in repository.builds or repository.layout.startswith("src"):
        return None
    file = repository.root / "pyproject.toml"
    settings = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    tool = settings.get("tool", {}).get("setuptools", {})
    texts = [(repository.root / name) for name in ("setup.py", "setup.cfg")]
    written = any(path.is_file() and "packages" in path.read_text("utf-8", "replace") for path in texts)
    if written or tool.keys() & {"packages", "py-modules"}:
        return None
    folders = sorted({name.partition("/")[0] for name in repository.files if name.endswith("/__init__.py")})
    fix = f"add to it: [tool.setuptools] packages = {folders}".replace("'", '"')
    problem = "setuptools searches the folder for packages, and stops when it has a folder packages/ or configs/ too"
    return Violation("pyproject.toml", problem, fix)
