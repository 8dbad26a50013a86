"""Random seed set: in the config and in the run; and the seed works: a reproduction came out the same."""

from collections.abc import Iterator

from ..config.yaml import decoded, parse_yaml
from ..display import one_line
from ..errors import Refused, Violation
from ..git.command import git, git_line
from ..project import BASE_CONFIG, team_policy
from ..tags import REPRODUCED_BY
from .item import Observation
from .review import Review


def inspect(review: Review) -> Iterator[Observation]:
    """Look for the seed in the config and in the run, then at the results of the run's reproductions."""
    recorded, reproductions = review.run.recorded, review.run.reproductions
    seed, planned = recorded.values.get("seed"), recorded.manifest.get("seeding")
    if not isinstance(seed, int) or isinstance(seed, bool):
        yield Violation("seed", "the run's config has none", "add seed: 42 to configs/base.yaml, and train anew")
    elif recorded.params.get("seed") != str(seed) or not planned or planned.get("seed") != seed:
        problem = f"the config says {seed} and the run {one_line(recorded.params.get('seed') or 'nothing')}"
        yield Violation("seed", problem, "train anew: nothing mends a run afterwards")
    else:
        yield f"seed {seed}, in the config and in the run"
    run_id = recorded.run.info.run_id[:8]
    if reproductions.match and REPRODUCED_BY not in recorded.run.data.tags:
        # The gate takes only a reproduction that the run itself names.
        yield f"a second training is enough here; to promote its model: repro reproduce {run_id}"
    if (change := _changed_tolerance(review)) is not None:
        yield change
    yield from reproductions.problems
    for verdict in reproductions.verdicts:
        second = verdict.judged[0].b
        values = sum(finding.values for pair in verdict.judged for finding in pair.findings)
        if not values:
            problem = f"the reproduction {second[:8]} shows nothing: no metric, file or model is compared"
            yield Violation("seed", problem, "log a metric, or take its name out of not_compared in configs/base.yaml")
        elif verdict.holds:
            yield f"the reproduction {second[:8]} gave the same {values} results: {verdict.outcome.value}"
        else:
            inputs = "; ".join(map(str, verdict.input_differences))
            also = f" (its inputs differ: {inputs})" if inputs else ""
            problem = f"the reproduction {second[:8]} differs: {verdict.first_difference}{also}"
            fix = "give the config's seed to the code that draws there; "
            yield Violation("seed", problem, f"{fix}repro diff {verdict.run_id[:8]} {second[:8]} shows all differences")


def _changed_tolerance(review: Review) -> str | None:
    """Return how the branch changes the tolerance that its own run is judged by; None if it does not."""
    if review.base is None or (since := git_line(review.root, "merge-base", review.base, review.head)) is None:
        return None
    now = team_policy().tolerance
    try:
        text = git(review.root, "cat-file", "blob", f"{since}:./configs/base.yaml")
        before = dict(parse_yaml(decoded(text, BASE_CONFIG.name), BASE_CONFIG.name)[0]["policy"]["tolerance"])
    except (Refused, KeyError, TypeError, ValueError):
        return "judged by a tolerance that this branch brings"
    changed = [
        f"{key} {one_line(str(before.get(key)))} → {value}"
        for key, value in now.model_dump(mode="json").items()
        if before.get(key) != value
    ]
    return f"judged by a tolerance that this branch changes: {'; '.join(changed)}" if changed else None
