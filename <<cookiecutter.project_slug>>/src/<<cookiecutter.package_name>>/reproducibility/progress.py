"""Progress: a short line for a person who is waiting at a terminal; logs and pipes stay clean."""

import sys

import click


def say(text: str) -> None:
    """Print *text* on standard error if that is a terminal."""
    if sys.stderr.isatty():
        click.secho(text, dim=True, err=True)
