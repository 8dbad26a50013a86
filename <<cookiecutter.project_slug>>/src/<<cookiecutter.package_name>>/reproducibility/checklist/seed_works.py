"""Random seed set: in the config and in the run, and shown to work: a second process got the very same results."""

from collections.abc import Iterator

from ..place import one_line
from ..violation import Violation
from .item import Seen
from .review import Review


def look(review: Review) -> Iterator[Seen]:
    """Look for the seed where it has to be, then at what second runs gave."""
    recorded, proof = review.run.recorded, review.run.proof
    seed, planned = recorded.values.get("seed"), recorded.manifest.get("seeding")
    if not isinstance(seed, int) or isinstance(seed, bool):
        yield Violation("seed", "the run's config has none", "add seed: 42 to configs/base.yaml, and train anew")
    elif recorded.params.get("seed") != str(seed) or not planned or planned.get("seed") != seed:
        problem = f"the config says {seed} and the run {one_line(recorded.params.get('seed') or 'nothing')}"
        yield Violation("seed", problem, "train anew: nothing mends a run afterwards")
    else:
        yield f"seed {seed}, in the config and in the run"
    yield from proof.problems
    for verdict in proof.verdicts:
        second = verdict.judged[0].second
        if verdict.holds:
            values = sum(finding.values for finding in verdict.judged[0].findings)
            yield f"a second process (run {second[:8]}) gave the same {values} results: {verdict.outcome.value}"
        else:
            under = f" (not the same for both: {'; '.join(map(str, verdict.conditions))})" if verdict.conditions else ""
            problem = f"run {second[:8]}, made from the same, differs: {verdict.first_difference}{under}"
            fix = "give whatever draws there the seed of the config; repro diff "
            yield Violation("seed", problem, f"{fix}{verdict.asked[:8]} {second[:8]} shows all of it")
