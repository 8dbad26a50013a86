"""The study of a sweep: which combinations were asked for, and their values. Optuna keeps it in a file.

Optuna only proposes combinations and learns their values. A combination without a value is one whose trials are still
to be made: Optuna counts it as running, whatever became of its trials, and it can be told later, after a restart too.
"""

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import refuse
from .settings import Settings
from .space import Choice, Dimension, grid_of, written

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_NAME = "sweep"


def require_optuna() -> None:
    """Raise Refused where Optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError:
        refuse("optuna", "it is not installed in this environment", "use `nox -s sweep`, which installs it")


@dataclass(frozen=True)
class Combination:
    """One value for each key of the space: {dotted key: value}. value: the mean of the metric, once it is known."""

    number: int
    values: Mapping[str, Any]
    value: float | None = None


class Study:
    """The study in *file*, which is made if it is missing."""

    def __init__(self, file: Path, settings: Settings) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._settings = settings
        self._distributions = {each.name: _distribution(each) for each in settings.dimensions}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(file), JournalFileOpenLock(str(file))))
        self._study = optuna.create_study(
            study_name=_NAME, storage=storage, direction=settings.direction, load_if_exists=True
        )
        asked = len(self._study.get_trials(deepcopy=False))
        # Another seed after a restart: the sampler would begin with the same combinations again.
        seed = (settings.seed + asked) % 2**32
        if settings.sampler == "tpe":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        else:
            self._study.sampler = optuna.samplers.RandomSampler(seed=seed)
        self._grid = enumerate(grid_of(settings.dimensions)) if settings.sampler == "grid" else iter(())
        self._grid = (values for number, values in self._grid if number >= asked)

    def ask(self) -> Combination | None:
        """Return a combination that was not asked for before; None if the sweep has all of its combinations."""
        if len(self._study.get_trials(deepcopy=False)) >= self._settings.combinations:
            return None
        if self._settings.sampler == "grid":
            fixed = next(self._grid)
            self._study.enqueue_trial({each.name: _as_param(each, fixed[each.name]) for each in self._dimensions})
        trial = self._study.ask(self._distributions)
        return Combination(trial.number, self._values(trial.params))

    def tell(self, number: int, value: float) -> None:
        """Keep the value of a combination. One that is no finite number is kept as a failure: nothing is learnt."""
        from optuna.trial import TrialState

        if math.isfinite(value):
            self._study.tell(number, value, skip_if_finished=True)
        else:
            self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def combinations(self) -> list[Combination]:
        """Return every combination that was asked for, in the order of their numbers."""
        return [
            Combination(trial.number, self._values(trial.params), trial.value)
            for trial in self._study.get_trials(deepcopy=False)
        ]

    def importance(self) -> dict[str, float]:
        """Return how much of the variation of the metric each key explains, {dotted key: share}.

        Empty where too few combinations have a value, or where all values are equal.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return dict(get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator()))
        except (ValueError, RuntimeError):
            return {}

    @property
    def _dimensions(self) -> tuple[Dimension, ...]:
        return self._settings.dimensions

    def _values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {
            each.name: json.loads(params[each.name]) if isinstance(each.domain, Choice) else params[each.name]
            for each in self._dimensions
        }


def _as_param(dimension: Dimension, value: Any) -> Any:
    return written(value) if isinstance(dimension.domain, Choice) else value


def _distribution(dimension: Dimension) -> "BaseDistribution":
    """Return the values of *dimension* in Optuna's form. It takes choices as text: true and 1 are two choices then."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    domain = dimension.domain
    if isinstance(domain, Choice):
        return CategoricalDistribution([written(value) for value in domain.values])
    if domain.whole:
        # Optuna wants a range to end at a step.
        step = int(domain.step or 1)
        high = int(domain.low + (domain.high - domain.low) // step * step)
        return IntDistribution(int(domain.low), high, log=domain.log, step=step)
    high = domain.high
    if domain.step:
        high = domain.low + int((domain.high - domain.low) / domain.step + 1e-9) * domain.step
    return FloatDistribution(domain.low, high, log=domain.log, step=domain.step)
