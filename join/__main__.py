"""Reports on a repository that is to join, and lets it join: nox -s join -- PATH [--apply]"""

import shlex
import sys
from pathlib import Path

import click
from reproducibility.display import let_any_text_pass
from reproducibility.ending import end
from reproducibility.errors import Refused, refuse

from .branch import apply as make_branch
from .files import base_yaml, data_path
from .obstacles import obstacles
from .report import show_joined, show_report
from .repository import Repository, find_environment, read_repository
from .store import find_stores


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--apply", is_flag=True, help="Write the branch. Without it, nothing is written.")
@click.option("--python", type=click.Path(path_type=Path), help="The Python of the environment that trains.")
@click.option("--data", metavar="PATH", help="The data, from the repository's root.")
@click.option("--train", metavar="COMMAND", help="What CI trains with, such as 'train.py 0.5'.")
@click.option("--store", metavar="URI", help="The address of the runs, if it is a server.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def join(
    path: Path,
    apply: bool,
    python: Path | None,
    data: str | None,
    train: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Let an existing repository with MLflow join: first a report, then a branch.

    Status 0: it can join, or has joined. 1: something in it has to be changed first. 2: nobody could tell.
    """
    repository = read_repository(path)
    installed = find_environment(repository.root, python)
    found = list(obstacles(repository, installed))
    data = data_path(repository, data)
    command = _command(repository, train)
    if not apply or found:
        stores = find_stores(repository.root, base_yaml(repository, data), store)
        show_report(repository, installed, stores, found, data, as_json)
        sys.exit(1 if found else 0)
    minor = installed.python if installed else f"{sys.version_info.major}.{sys.version_info.minor}"
    changed = make_branch(repository, installed, minor, command, data)
    show_joined(repository, changed, command, data, as_json)


def _command(repository: Repository, given: str | None) -> list[str]:
    if given:
        try:
            return shlex.split(given)
        except ValueError as error:
            refuse("--train", f"it is no command ({error})", "quote it as for a shell")
    scripts = [script.path for script in repository.code.scripts if script.starts]
    return [min(scripts, key=lambda name: name.count("/"), default="train.py")]


if __name__ == "__main__":
    let_any_text_pass()
    try:
        join(standalone_mode=False, prog_name="nox -s join --")
    except (Refused, click.ClickException, click.Abort, OSError) as error:
        end(error)
