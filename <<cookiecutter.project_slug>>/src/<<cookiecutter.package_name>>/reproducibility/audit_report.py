"""The report of an audit: one JSON object, or a table of what needs a person's eyes."""

import json
from collections import Counter
from collections.abc import Sized
from dataclasses import asdict

import click

from .audit import Audit

# In the order of urgency; what complies is only counted.
_SHOWN = ("died", "does not comply", "cannot be told", "running", "ended without a result")
_OF_MANY = {"complies": "comply", "does not comply": "do not comply"}


def show(audit: Audit, as_json: bool) -> None:
    """Print *audit*: for people a count of each verdict, and every run that does not comply with the reason."""
    counts = Counter(run.verdict for run in audit.runs)
    if as_json:
        found = asdict(audit) | {"counts": counts, "holds": audit.holds}
        click.echo(json.dumps(found, indent=2, ensure_ascii=True))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    shown = [run for verdict in _SHOWN for run in audit.runs if run.verdict == verdict]
    if shown:
        table = Table("run", "what is wrong")
        table.columns[0].no_wrap = True
        for run in shown:
            style = "red" if run.verdict in ("died", "does not comply") else None
            whose = f"{run.run_id}\n{run.experiment[:32]}\n{run.author[:32]}".rstrip()
            table.add_row(_printable(whose), _printable("\n".join([run.verdict, *run.problems])), style=style)
        console.print(table)
    if wrong := [alias for alias in audit.aliases if alias.problems]:
        table = Table("alias", "why nobody can rely on it", style="red")
        for alias in wrong:
            whose = f"{alias.alias} of {alias.model}\nversion {alias.version}"
            table.add_row(_printable(whose), _printable("\n".join(alias.problems)))
        console.print(table)
    counted = ", ".join(_counted(verdict, counts[verdict]) for verdict in ("complies", *_SHOWN) if counts[verdict])
    console.print(f"{_number(audit.runs, 'run')} in {audit.place}: {counted or 'nothing to look at'}.")
    if audit.aliases:
        known = _number(audit.aliases, "protected alias")
        console.print(f"{known}, of which {len(audit.aliases) - len(wrong)} can be relied on.")


def _counted(verdict: str, count: int) -> str:
    return f"{count} {_OF_MANY.get(verdict, verdict) if count > 1 else verdict}"


def _number(things: Sized, name: str) -> str:
    return f"{len(things)} {name}{('es' if name.endswith('s') else 's') * (len(things) != 1)}"


def _printable(text: str) -> str:
    """Without what would command the terminal: names and reasons come from whoever logged them."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)
