"""Generating a project against peers and a bare render."""

import os
import shutil
import subprocess
from pathlib import Path

from .stopwatch import Side, say, seconds_of, take_turns
from .table import Row, Section
from .workshop import PEERS, MissingError, Workshop

ROUNDS = 9
CCDS_TEMPLATE = "https://github.com/drivendataorg/cookiecutter-data-science"
CCDS_VERSION = "v" + PEERS["generators"][0].partition("==")[2]
METHOD = """\
Whole commands, the start of Python included, with the default answers of each and an empty home. Ours includes its
hook, which makes a git repository and the first commit. `ccds` is given a checkout of its template, made
beforehand, so that no network takes part. `kedro new` makes its project without tools and example, from the
template in its package, and no repository."""


def measure(workshop: Workshop) -> Section:
    """Return the rows."""
    into = workshop.folder / "generated"
    sides: list[Side] = [
        timed(workshop, "ours", workshop.cookiecutter(into), into),
        timed(workshop, "bare render", workshop.cookiecutter(into, "--accept-hooks", "no"), into),
    ]
    missing: dict[str, str] = {}
    try:
        programs = workshop.peer("generators")
    except MissingError as error:
        missing = {"ccds": str(error), "kedro new": str(error)}
    else:
        kedro = [programs / "kedro", "new", "--name=Benchmark", "--tools=none", "--example=no"]
        sides.append(timed(workshop, "kedro new", kedro, into))
        try:
            template = ccds_template(workshop)
        except MissingError as error:
            missing["ccds"] = str(error)
        else:
            sides.append(
                timed(workshop, "ccds", [programs / "ccds", "--no-input", "--output-dir", into, template], into)
            )
    times = take_turns("generation", sides, workshop.size(ROUNDS))
    rows = [
        Row("generating a project, hook included", times["ours"], peer, times.get(peer), missing=missing.get(peer, ""))
        for peer in ("ccds", "kedro new", "bare render")
    ]
    return Section("Generation", METHOD, rows)


def timed(workshop: Workshop, name: str, command: list[str | Path], into: Path) -> Side:
    """A side that runs the command in an empty folder *into*."""

    def side() -> dict[str, float]:
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        return {name: seconds_of(command, into, workshop.env)}

    return side


def ccds_template(workshop: Workshop) -> Path:
    """A checkout of the template of ccds, which its package does not carry; raises MissingError where there is none."""
    folder = workshop.folder / "ccds"
    say("cloning the template of ccds")
    clone = ["git", "clone", "--quiet", "--depth=1", f"--branch={CCDS_VERSION}", CCDS_TEMPLATE, folder]
    # With the git settings of whoever measures: they may name a proxy, or a local copy (url.<copy>.insteadOf).
    env = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    try:
        subprocess.run(clone, env=env, check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingError(
            f"its template {CCDS_VERSION} is only on GitHub, which cannot be reached from here"
        ) from error
    return folder
