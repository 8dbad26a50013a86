"""The driver of a sweep: asks for combinations, has their trials made, and counts each of them once.

The run of the sweep is open while trials are made, and the trials are inside that run. Everything that counts is in
two places that survive this process: the study has the combinations, the tracking store has the runs.
"""

import math
import os
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from ..errors import Unknown, refuse
from ..project import PROJECT_ROOT
from ..provenance.gather import author
from ..tracking.trial import Trial
from .records import Records, Result
from .settings import Settings
from .space import written
from .study import Combination, Study
from .trial import Ended, Order

_TICK_S = 1.0
_PATIENCE_S = 45.0  # for trials that were interrupted to end their runs
# How a process ends that a signal struck: killed, or SIGTERM or SIGHUP that its run has recorded.
_STRUCK = {128 + 15, 128 + 1}
_ATTEMPTS = 2  # of a trial whose process was struck: the trial itself is not to blame

Progress = Callable[["Tally"], None]


class Engine(Protocol):
    """Where trials are made: see `local.Local` and `workers.Workers`."""

    @property
    def slots(self) -> int: ...

    def submit(self, order: Order) -> "Future[Ended]": ...

    def lost(self, futures: "Mapping[Future[Ended], Order]") -> "list[Future[Ended]]": ...

    def stop(self, parent: str) -> None: ...

    def close(self, parent: str) -> None: ...


@dataclass(frozen=True)
class Tally:
    """How far a sweep is. results: {number of a trial: what became of it}. best: the best combination so far."""

    settings: Settings
    results: Mapping[int, Result]
    combinations: Mapping[int, Combination]
    last: int | None = None

    @property
    def finished(self) -> int:
        return sum(result.is_finished for result in self.results.values())

    @property
    def failures(self) -> Counter[str]:
        """How many trials have no finished run, by the reason."""
        return Counter(result.reason for result in self.results.values() if not result.is_finished)

    @property
    def best(self) -> Combination | None:
        known = [each for each in self.combinations.values() if each.value is not None and not math.isnan(each.value)]
        choose = max if self.settings.maximizes else min
        return choose(known, key=lambda each: each.value, default=None)

    def of(self, combination: int) -> list[Result]:
        """Return the results of the trials of a combination."""
        return [self.results[number] for number in self.settings.numbers_of(combination) if number in self.results]


class Driver:
    """Makes the trials of *settings* as children of the run *parent*."""

    def __init__(
        self,
        settings: Settings,
        study: Study,
        records: Records,
        engine: Engine,
        order: Callable[[int, Combination], Order],
        parent: str,
    ) -> None:
        self._settings = settings
        self._study = study
        self._records = records
        self._engine = engine
        self._order = order
        self._parent = parent
        self._todo: deque[int] = deque()
        self._tries: Counter[int] = Counter()
        self._running: dict[Future[Ended], Order] = {}
        self._combinations = {each.number: each for each in study.combinations()}
        self._results: dict[int, Result] = {}

    def tally(self, last: int | None = None) -> Tally:
        return Tally(self._settings, self._results, self._combinations, last)

    def run(self, progress: Progress) -> None:
        """Make every trial that has no finished run; on return each one was made, and has a result.

        *progress* is called after each trial. Whatever ends this early, no trial goes on behind it.
        """
        self._recall()
        progress(self.tally())
        try:
            self._fill()
            while self._running:
                done, _ = wait(self._running, _TICK_S, FIRST_COMPLETED)
                for future in done:
                    number = self._ended(future)
                    if number is not None:
                        progress(self.tally(number))
                for future in self._engine.lost(self._running):
                    future.cancel()
                    self._todo.appendleft(self._running.pop(future).trial.number)
                self._fill()
        except BaseException:
            self._stop(progress)
            raise
        finally:
            self._engine.close(self._parent)

    def _recall(self) -> None:
        """Take what an earlier process left: the results of its trials, and the trials that it did not finish."""
        if self._combinations:
            self._results = {number: result for number, result in self._records.results().items() if result.is_finished}
        for combination in list(self._combinations.values()):
            numbers = self._settings.numbers_of(combination.number)
            missing = [number for number in numbers if number not in self._results]
            self._todo.extend(missing)
            if not missing and combination.value is None:
                self._tell(combination.number)

    def _fill(self) -> None:
        slots = self._engine.slots
        while len(self._running) < slots:
            if not self._todo:
                if (combination := self._study.ask()) is None:
                    return
                self._combinations[combination.number] = combination
                self._todo.extend(self._settings.numbers_of(combination.number))
            number = self._todo.popleft()
            order = self._order(number, self._combinations[self._settings.combination_of(number)])
            self._running[self._engine.submit(order)] = order

    def _ended(self, future: "Future[Ended]") -> int | None:
        """Keep the result of a trial; return its number, or None if it is made again."""
        number = self._running.pop(future).trial.number
        self._tries[number] += 1
        try:
            ended = future.result()
        except CancelledError:
            refuse(
                "--scheduler", "the scheduler gave up a trial, or is gone", "start it again, then: --resume", Unknown
            )
        except Exception as error:  # such as a worker that died four times in this trial
            ended = Ended(-9, f"its worker is gone ({type(error).__name__})")
        result = self._records.result(number, _why(ended))
        is_struck = ended.status < 0 or ended.status in _STRUCK
        if not result.is_finished and is_struck and self._tries[number] < _ATTEMPTS:
            self._todo.appendleft(number)
            return None
        self._results[number] = result
        if result.is_finished:
            self._tell(self._settings.combination_of(number))
        return number

    def _tell(self, combination: int) -> None:
        """Tell the study the mean of a combination, if all of its trials have finished."""
        results = [self._results.get(number) for number in self._settings.numbers_of(combination)]
        if all(result is not None and result.is_finished for result in results):
            value = sum(result.value for result in results) / len(results)
            self._study.tell(combination, value)
            known = self._combinations[combination]
            self._combinations[combination] = Combination(combination, known.values, value)

    def _stop(self, progress: Progress) -> None:
        """Interrupt the trials that run, wait until they have ended, and keep their results."""
        try:
            self._engine.stop(self._parent)
            wait(self._running, _PATIENCE_S)
        except KeyboardInterrupt:  # once more: nobody wants to wait
            pass
        for future, order in self._running.items():
            number = order.trial.number
            # The first error is the one to show. What is not settled here, --resume settles.
            with suppress(Exception):
                if not future.cancel() and not future.done():
                    continue
                self._results[number] = self._records.result(number, "the sweep was stopped")
                if self._results[number].is_finished:
                    self._tell(self._settings.combination_of(number))
        progress(self.tally())


def _why(ended: Ended) -> str:
    if ended.status < 0:
        return f"its process was killed by signal {-ended.status}"
    return ended.last_line or f"its process ended with status {ended.status}"


def order_for(
    settings: Settings, sweep: str, parent: str, facts: Mapping[str, str], uri: str, script: str
) -> Callable[[int, Combination], Order]:
    """Return the function that makes the order of a trial from its number and its combination."""
    if not settings.experiment.is_relative_to(PROJECT_ROOT):
        problem = f"{settings.experiment} lies outside the project, where no worker has it"
        refuse("extends", problem, "move it into configs/")
    experiment = settings.experiment.relative_to(PROJECT_ROOT).as_posix()
    variables = {"MLFLOW_TRACKING_URI": uri, "AUTHOR": author()}
    if (hash_seed := os.environ.get("PYTHONHASHSEED")) is not None:
        variables["PYTHONHASHSEED"] = hash_seed

    def order(number: int, combination: Combination) -> Order:
        changes = dict(combination.values)
        if settings.seeds:
            changes["seed"] = settings.seeds[number % settings.trials_of_each]
        sets = [part for name, value in changes.items() for part in ("--set", f"{name}={written(value)}")]
        return Order(Trial(sweep, number, parent), script, ("--config", experiment, *sets), facts, variables)

    return order
