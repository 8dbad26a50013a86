"""The command of an experiment: takes a config file and changes to it, records a run and validates it."""

import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from .config.loader import Config
from .delivery.registry import journal_of
from .display import as_utf8, let_any_text_pass, require_working_directory
from .ending import end_quickly
from .errors import refuse
from .project import load, team_policy
from .provenance.start import starts_experiment
from .sweep.lifeline import hold_lifeline
from .sweep.records import finished_run_of_trial
from .tracking.store import OFFLINE_VARIABLE

C = TypeVar("C", bound=Config)


def experiment_command(model: type[C], run_experiment: Callable[[C], str]) -> click.Command:
    """Return the command that loads a *model* from ``--config`` and ``--set``, runs it, and validates its run.

    *run_experiment* trains and returns the id of its run; the first paragraph of its docstring is the help. With
    ``--container`` the same command runs in the image of the commit. The command ends with status 0 when the run
    holds or the policy only records violations, 1 when the training failed or the run does not hold, 2 when nothing
    was started, and 130 after Ctrl-C.
    """
    purpose = (inspect.getdoc(run_experiment) or "").partition("\n\n")[0]

    @click.command(context_settings={"help_option_names": ["-h", "--help"]}, help=purpose)
    @click.option("--config", "path", required=True, type=click.Path(path_type=Path), help="A YAML file in configs/.")
    @click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one value, e.g. model.max_depth=3."
    )
    @click.option("--offline", is_flag=True, help="Begin without the server; `repro sync` ships the run later.")
    @click.option("--json", "as_json", is_flag=True, help="Print the validation as one JSON object.")
    @click.option("--container", is_flag=True, help="Run in the image of the commit, which is built if missing.")
    @click.option("--snapshot", is_flag=True, help="With --container: include uncommitted changes, as a patch.")
    @click.option(
        "--base", metavar="IMAGE", help="With --container: start from another image, for example one for GPUs."
    )
    # For `repro sweep`, whose help describes them.
    @click.option("--sweep", is_flag=True, hidden=True)
    @click.option("--jobs", type=click.IntRange(min=1), hidden=True)
    @click.option("--scheduler", hidden=True)
    @click.option("--resume", is_flag=True, hidden=True)
    @click.option("--html", hidden=True)
    def command(
        path: Path,
        overrides: tuple[str, ...],
        offline: bool,
        as_json: bool,
        container: bool,
        snapshot: bool,
        base: str | None,
        sweep: bool,
        **of_sweep: Any,
    ) -> None:
        hold_lifeline()
        let_any_text_pass()
        starts_experiment()
        end_quickly()
        require_working_directory()
        if sweep:
            from .sweep.sweep import run_sweep

            raise SystemExit(run_sweep(path, model, as_json=as_json, **of_sweep))
        overrides = tuple(map(as_utf8, overrides))
        if offline:
            os.environ[OFFLINE_VARIABLE] = "1"
        if container:
            from .container.run import train

            train(path, overrides, as_json=as_json, snapshot=snapshot, base=base)
        if snapshot or base:
            refuse("--snapshot" if snapshot else "--base", "it needs an image", "add --container")
        try:
            config = load(path, model, overrides)
            run_id = finished_run_of_trial() or run_experiment(config)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        if (journal := journal_of(run_id)) is not None:  # it waits for its server: the run said so at its end
            if as_json:
                click.echo(json.dumps({"run_id": run_id, "holds": None, "waiting": journal.waiting()}, indent=2))
            raise SystemExit(2)
        from .tracking.validation import show_validation, validate

        validation = validate(run_id)
        show_validation(validation, as_json)
        # In a ramp a training that breaks the policy succeeds: its run has a tag, and there was a warning.
        raise SystemExit(0 if validation.holds or team_policy().enforce == "record" else 1)

    return command
