"""The ramp: while the policy says `enforce: record`, what breaks it becomes a tag and a warning, and runs go on."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from ..errors import Violation
from ..policy import Policy
from ..rules import noted, summary
from ..tags import VIOLATIONS_TAG
from .store import reachable

if TYPE_CHECKING:
    from mlflow import MlflowClient


def only_records(policy: Policy) -> bool:
    """Whether violations of *policy* are recorded, and nothing is refused for them."""
    return policy.enforce == "record"


def warn(found: Iterable[Violation]) -> None:
    """Print *found* as one warning; nothing if there is no violation."""
    if lines := "".join(f"\n  - {violation}" for violation in found):
        click.echo(
            f"Warning: this run breaks the policy, which only records that now (`enforce: record`):{lines}", err=True
        )


def tag_of(found: Iterable[Violation], tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tag with *found* beside what *tags* say already; nothing if there is no violation."""
    return {VIOLATIONS_TAG: noted(tags, summary(found))} if (found := [*found]) else {}


def note(client: "MlflowClient", run_id: str, found: Iterable[Violation], tags: Mapping[str, str]) -> None:
    """Print *found* and record it as a tag of the run, which has *tags*."""
    warn(found := [*found])
    with reachable(client.tracking_uri):
        for key, value in tag_of(found, tags).items():
            client.set_tag(run_id, key, value)
