"""The report on a repository that is to join, and what to do after it has joined."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from reproducibility.display import emit, listed
from reproducibility.errors import Violation

from .branch import BRANCH
from .code import Script
from .files import noxfile_name
from .repository import Installed, Repository
from .store import Store

if TYPE_CHECKING:
    from rich.console import Console

_IMPORT = "from reproducibility import log_reproducibility_info"


def show_report(
    repository: Repository,
    installed: Installed | None,
    stores: Sequence[Store],
    found: Sequence[Violation],
    data: str,
    as_json: bool,
) -> None:
    """Print what was found: tables for people, or one JSON object."""

    def facts() -> dict[str, Any]:
        return {
            "root": str(repository.root),
            "commit": repository.commit,
            "layout": repository.layout,
            "builds": repository.builds,
            "python": installed.python if installed else None,
            "installed": len(installed.packages) if installed else None,
            "sources": repository.sources,
            "data_path": data,
            "code": asdict(repository.code),
            "stores": [asdict(store) for store in stores],
            "obstacles": [{"key": each.key, "problem": each.problem, "fix": each.fix} for each in found],
        }

    emit(as_json, facts, lambda console: _draw(console, repository, installed, stores, found, data))


def _draw(
    console: "Console",
    repository: Repository,
    installed: Installed | None,
    stores: Sequence[Store],
    found: Sequence[Violation],
    data: str,
) -> None:
    from rich.table import Table

    table = Table(repository.name, f"at commit {repository.commit[:12]}")
    for row in _facts(repository, installed, data):
        table.add_row(*row)
    console.print(table)
    code = repository.code
    if code.scripts or code.notebooks:
        table = Table("code with MLflow", "its run begins in line", "arguments")
        for script in code.scripts:
            table.add_row(script.path, str(script.line or "none of its own"), script.takes)
        for notebook in code.notebooks:
            table.add_row(notebook, "a cell", "a notebook: its run is recorded, and cannot be made again")
        console.print(table)
    if stores:
        table = Table("runs in", "runs", "finished", "could be made again", "the others, mostly")
        for store in stores:
            table.add_row(store.place, *map(str, (store.runs, store.finished, store.comply)), store.why)
        console.print(table)
    for each in found:
        console.print(f"To change first: {each}", style="red", soft_wrap=True)
    if not found:
        console.print(f"Nothing was written. To join, on the branch {BRANCH}: the same with --apply", soft_wrap=True)


def _facts(repository: Repository, installed: Installed | None, data: str) -> Iterator[tuple[str, str]]:
    code = repository.code
    yield "layout", repository.layout
    yield "built by", repository.builds or "nothing: it is no package"
    if installed:
        yield "environment", f"Python {installed.python}, {len(installed.packages)} packages in {installed.place}"
    else:
        yield "environment", "none was found: the lock will have the newest versions; --python names it"
    yield "requirements", ", ".join(_renamed(repository)) or "none"
    others = listed(code.data) if len(code.data) > 1 else ""
    exists = "" if repository.has(data) else ", which does not exist: --data names the right one"
    yield "data", f"{data}{f' ({others})' if others else ''}{exists}"
    if code.addresses:
        yield "data elsewhere", f"{listed(code.addresses)}: copy it below the data path, so that a run can version it"
    if code.stores:
        yield "store in the code", listed(code.stores)
    yield "seed", str(code.seed)
    if code.unread:
        yield "not read", listed(code.unread)


def _renamed(repository: Repository) -> Iterator[str]:
    for name in repository.sources:
        moved = name == "requirements.in" and not repository.has(name)
        yield f"{name} (requirements.txt now; that becomes the lock)" if moved else name


def show_joined(
    repository: Repository, changed: Mapping[str, tuple[str, str]], train: Sequence[str], data: str, as_json: bool
) -> None:
    """Print what is on the branch, which versions differ from the installed ones, and the two lines to add."""
    lines = [{"path": each.path, "line": each.line, "lines": _lines(each)} for each in _to_change(repository)]
    facts = {"branch": BRANCH, "changed": {name: list(pair) for name, pair in changed.items()}, "add": lines}

    def draw(console: "Console") -> None:
        say = console.print
        say(f"\nThe branch {BRANCH} has one commit with all of it; your work tree is as it was. To see it:")
        say(f"    git diff HEAD...{BRANCH} -- . ':!packages'", soft_wrap=True)
        for name, (before, after) in changed.items():
            say(f"The lock has {name} {after} instead of {before}, which the machinery needs.", soft_wrap=True)
        say("\nTwo lines are for you to add:")
        for each in lines:
            say(
                f"    {each['path']}:{each['line'] or 'where it trains'}",
                *each["lines"],
                sep="\n        ",
                soft_wrap=True,
            )
        say(f"\nThen, on that branch: nox -f {noxfile_name(repository)} -s train -- {' '.join(train)}", soft_wrap=True)
        say("and `-s audit` shows the share of runs that comply. docs/join.md of the template says how to go on.")

    emit(as_json, lambda: facts, draw)


def _to_change(repository: Repository) -> list[Script]:
    scripts = repository.code.scripts
    return [script for script in scripts if script.line] or list(scripts)


def _lines(script: Script) -> list[str]:
    given = ""
    if script.takes == "argparse":
        given = f'{{"arguments": vars({script.arguments or "args"})}}'
    elif script.takes == "Hydra":
        given = '{"arguments": OmegaConf.to_container(cfg, resolve=True)}'
    block = [] if script.block else ["with mlflow.start_run():  # around the training"]
    return [_IMPORT, *block, f"    log_reproducibility_info({given})  # first in the block of the run"]
