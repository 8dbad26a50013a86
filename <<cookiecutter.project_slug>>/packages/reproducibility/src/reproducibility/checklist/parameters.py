"""MLflow logging for all parameters: the run's params are the resolved config, to the last leaf, and nothing else."""

from collections.abc import Iterator

from ..config.values import flatten
from ..display import listed, one_line
from ..errors import Violation
from .item import Observation
from .review import Review

# The checks of `repro validate` that are about this.
CHECKS = frozenset({"params are the config's", "params are the manifest's"})


def inspect(review: Review) -> Iterator[Observation]:
    """Compare the run's params with its config, its data version and its seed."""
    recorded, reproductions = review.run.recorded, review.run.reproductions
    expected = recorded.manifest["params"] | flatten(recorded.values)
    found = recorded.params
    anew = "train anew: nothing mends a run afterwards"
    missing = sorted(expected.keys() - found.keys())
    if missing:
        yield Violation("params", f"not in the run: {listed(missing)}", anew)
    differing = [name for name in sorted(expected.keys() & found.keys()) if found[name] != expected[name]]
    for name in differing:
        cut = found[name] and expected[name].startswith(found[name])
        problem = "was cut" if cut else f"is {one_line(found[name])} in the run and {one_line(expected[name])}"
        yield Violation(f"param {name}", problem + ("" if cut else " in its config"), anew)
    if not missing and not differing:
        yield f"{len(expected)} params: all {len(flatten(recorded.values))} values of the config, and the data version"
    if own := sorted(found.keys() - expected.keys()):
        if reproductions.match:
            yield f"{len(own)} more come from the code, and the reproduction logged the same: {listed(own)}"
        else:
            problem = f"in no config, and no reproduction shows that the code logs them: {listed(own)}"
            yield Violation("params", problem, "repro checklist --prove, or put them into the config")
