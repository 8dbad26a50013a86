"""The command line of an experiment: a config file and changes to it in, a recorded and validated run out."""

import inspect
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from .config_file import Config, load
from .step_output import hand_on

if TYPE_CHECKING:
    from .validation import Validation

C = TypeVar("C", bound=Config)


def experiment_command(model: type[C], run_experiment: Callable[[C], str]) -> click.Command:
    """Return the command that loads a *model* from ``--config`` and ``--set``, runs it, and validates its run.

    *run_experiment* trains and returns the id of its run; the first paragraph of its docstring is the help. The
    command hands the ``run_id`` on to later steps of a CI job, and ends with status 0 when the run holds, 1 when the
    training failed or the run does not hold, 2 when nothing was started, and 130 after Ctrl-C.
    """

    purpose = (inspect.getdoc(run_experiment) or "").partition("\n\n")[0]

    @click.command(context_settings={"help_option_names": ["-h", "--help"]}, help=purpose)
    @click.option("--config", "path", required=True, type=click.Path(path_type=Path), help="A YAML file in configs/.")
    @click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one value, e.g. model.max_depth=3."
    )
    @click.option("--json", "as_json", is_flag=True, help="Print the validation as one JSON object.")
    def command(path: Path, overrides: tuple[str, ...], as_json: bool) -> None:
        try:
            run_id = run_experiment(load(path, model, overrides))
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        hand_on("run_id", run_id)
        from .validation import validate

        validation = validate(run_id)
        show(validation, as_json)
        raise SystemExit(0 if validation.holds else 1)

    return command


def show(validation: "Validation", as_json: bool = False) -> None:
    """Print what was found out about a run: a table for people, or one JSON object."""
    if as_json:
        # JSON has no NaN, and a loss that diverged is one
        metrics = {name: value if math.isfinite(value) else None for name, value in validation.metrics.items()}
        found = asdict(validation) | {"metrics": metrics, "holds": validation.holds}
        click.echo(json.dumps(found, indent=2, allow_nan=False))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    console.print(f"\nrun {validation.run_id} of {validation.experiment}")
    if validation.metrics:
        metrics = Table("metric", "value")
        for name, value in sorted(validation.metrics.items()):
            metrics.add_row(name, f"{value:.6g}")
        console.print(metrics)
    checks = Table("", "check", "evidence")
    for check in validation.checks:
        checks.add_row("ok" if check.holds else "NO", check.name, check.evidence, style=None if check.holds else "red")
    console.print(checks)
    kept = sum(check.holds for check in validation.checks)
    verdict = "this run can be made again" if validation.holds else "nobody can rely on this run"
    console.print(f"{kept} of {len(validation.checks)} checks hold: {verdict}.")
    console.print(f"Recorded in {validation.place}\nTo look at it: nox -s ui", soft_wrap=True)
