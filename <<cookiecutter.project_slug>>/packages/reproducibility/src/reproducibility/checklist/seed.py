"""Random seed set: in the config and in the run, and shown to work: a second process got the very same results."""

from collections.abc import Iterator

from ..config.yaml import decoded, parse_yaml
from ..display import one_line
from ..errors import Refused, Violation
from ..git.command import git, git_line
from ..project import BASE_CONFIG, team_policy
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
    if (loosened := _other_tolerance(review)) is not None:
        yield loosened
    yield from proof.problems
    for verdict in proof.verdicts:
        second = verdict.judged[0].second
        values = sum(finding.values for pair in verdict.judged for finding in pair.findings)
        if not values:
            problem = f"run {second[:8]}, made from the same, says nothing: no metric, file or model is compared"
            yield Violation("seed", problem, "log a metric, or take its name out of not_compared in configs/base.yaml")
        elif verdict.holds:
            yield f"a second process (run {second[:8]}) gave the same {values} results: {verdict.outcome.value}"
        else:
            under = f" (not the same for both: {'; '.join(map(str, verdict.conditions))})" if verdict.conditions else ""
            problem = f"run {second[:8]}, made from the same, differs: {verdict.first_difference}{under}"
            fix = "give whatever draws there the seed of the config; repro diff "
            yield Violation("seed", problem, f"{fix}{verdict.asked[:8]} {second[:8]} shows all of it")


def _other_tolerance(review: Review) -> str | None:
    """Return what is to be known when the branch changes the rules that it is judged by."""
    if review.base is None or (since := git_line(review.root, "merge-base", review.base, review.head)) is None:
        return None
    now = team_policy().tolerance
    try:
        text = git(review.root, "cat-file", "blob", f"{since}:./configs/base.yaml")
        before = parse_yaml(decoded(text, BASE_CONFIG.name), BASE_CONFIG.name)[0]["policy"]["tolerance"]
    except (Refused, KeyError, TypeError):
        return "judged by a tolerance that this branch brings"
    changed = [
        f"{key} {one_line(str(before.get(key)))} → {value}"
        for key, value in now.model_dump(mode="json").items()
        if before.get(key) != value
    ]
    return f"judged by a tolerance that this branch changes: {'; '.join(changed)}" if changed else None
