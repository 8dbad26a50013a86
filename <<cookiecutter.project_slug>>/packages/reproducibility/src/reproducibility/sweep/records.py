"""The trials of a sweep in the tracking store: which of them finished, with which metric, and why others did not."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..delivery.sync import sync, waiting_runs
from ..display import one_line
from ..errors import refuse
from ..process import is_running
from ..rules import CLOSED
from ..tags import FAILURE_TAG, PROCESS_TAG, SUPERSEDED_TAG, SWEEP_TAG, TRIAL_TAG
from ..tracking.recorded import pages
from ..tracking.store import connect, reachable
from ..tracking.trial import trial_of_process

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PATIENCE_S = 90.0  # for the trials of a sweep that was killed: they end by themselves


@dataclass(frozen=True)
class Result:
    """What became of a trial: the id of its finished run and the metric of the sweep; else why there is none."""

    number: int
    run_id: str | None
    value: float | None
    reason: str = ""

    @property
    def is_finished(self) -> bool:
        return self.run_id is not None


class Records:
    """The runs of one sweep, whose run *parent* is now. *metric* is the metric of the sweep."""

    def __init__(self, client: "MlflowClient", parent: "Run", sweep: str, metric: str) -> None:
        self._client = client
        self._parent = parent
        self._sweep = sweep
        self._metric = metric
        self._seen: set[str] = set()  # the ids of runs that an earlier process of their trial recorded

    def results(self) -> dict[int, Result]:
        """Return the result of every trial that has a run, {number: result}; used before a sweep goes on.

        Runs that nobody records any more are ended FAILED. Trials whose process still ends are waited for.
        """
        runs: dict[int, list[Run]] = {}
        for run in self._runs():
            number = run.data.tags.get(TRIAL_TAG)
            if number is not None:
                runs.setdefault(int(number), []).append(run)
            elif run.info.status not in CLOSED and run.info.run_id != self._parent.info.run_id:
                self._close(run, "its process was killed, or the machine went down; the sweep goes on in another run")
        return {number: self._result(number, self._ended(of_trial)) for number, of_trial in runs.items()}

    def result(self, number: int, why_not: str) -> Result:
        """Return what became of a trial whose process has ended; *why_not* is what to say where its run does not."""
        return self._result(number, self._ended(list(self._runs(number))), why_not)

    def _runs(self, trial: int | None = None) -> "Iterator[Run]":
        condition = f"tags.`{SWEEP_TAG}` = '{self._sweep}'"
        if trial is not None:
            condition += f" AND tags.`{TRIAL_TAG}` = '{trial}'"
        with reachable(self._client.tracking_uri):
            yield from pages(
                self._client.search_runs,
                experiment_ids=[self._parent.info.experiment_id],
                filter_string=condition,
                max_results=500,
            )

    def _ended(self, runs: "list[Run]") -> "list[Run]":
        """Return *runs* as they are when no process of this machine records one of them any more.

        What this machine still has of them is shipped to their server.
        """
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until and any(
            run.info.status not in CLOSED and is_running(run.data.tags.get(PROCESS_TAG, "")) for run in runs
        ):
            time.sleep(0.5)
            runs = self._anew(runs)
        left = [run.info.run_id for run in runs if run.info.status not in CLOSED and _waits_here(run.info.run_id)]
        for run_id in left:
            sync(run_id)
        return self._anew(runs) if left else runs

    def _anew(self, runs: "list[Run]") -> "list[Run]":
        with reachable(self._client.tracking_uri):
            return [self._client.get_run(run.info.run_id) for run in runs]

    def _result(self, number: int, runs: "list[Run]", why_not: str = "its process ended before its run") -> Result:
        finished = sorted(
            (run for run in runs if run.info.status == "FINISHED"),
            key=lambda run: (run.info.end_time, run.info.run_id),
        )
        waiting = False
        for run in runs:
            if run.info.status in CLOSED:
                continue
            if not finished and _waits_here(run.info.run_id):
                waiting = True
            else:
                self._close(run, f"superseded by run {finished[0].info.run_id}" if finished else why_not)
        new = [run for run in runs if run.info.run_id not in self._seen]
        self._seen.update(run.info.run_id for run in runs)
        if not finished:
            return Result(number, None, None, _why(new, why_not, is_waiting=waiting))
        first, *others = finished
        for run in others:
            if SUPERSEDED_TAG not in run.data.tags:
                with reachable(self._client.tracking_uri):
                    self._client.set_tag(run.info.run_id, SUPERSEDED_TAG, first.info.run_id)
        return Result(number, first.info.run_id, self._value(first.data.metrics, first.info.run_id))

    def _value(self, metrics: Mapping[str, float], run_id: str) -> float:
        if self._metric not in metrics:
            names = ", ".join(sorted(metrics)) or "none"
            problem = f"run {run_id} finished and did not log {self._metric}; its metrics: {names}"
            refuse("sweep.metric", problem, "name one of them, or let the experiment log it")
        return metrics[self._metric]

    def _close(self, run: "Run", why: str) -> None:
        with reachable(self._client.tracking_uri):
            if FAILURE_TAG not in run.data.tags:
                self._client.set_tag(run.info.run_id, FAILURE_TAG, why)
            self._client.set_terminated(run.info.run_id, "FAILED")


def _waits_here(run_id: str) -> bool:
    return any(run.run_id == run_id for run in waiting_runs())


def _why(runs: "list[Run]", why_not: str, *, is_waiting: bool) -> str:
    if is_waiting:
        return "its server was away at its end: `repro sync`, then --resume"
    newest = max(runs, key=lambda run: run.info.start_time, default=None)
    return one_line((newest.data.tags.get(FAILURE_TAG) if newest else None) or why_not, 200)


def finished_run_of_trial() -> str | None:
    """Return the id of the finished run of the trial that this process is to make; None if it has none yet.

    A scheduler gives a trial to another worker if it hears no more from the first one, which may have finished it.
    """
    if (trial := trial_of_process()) is None:
        return None
    client = connect()
    with reachable(client.tracking_uri):
        condition = f"tags.`{SWEEP_TAG}` = '{trial.sweep}' AND tags.`{TRIAL_TAG}` = '{trial.number}'"
        experiment_id = client.get_run(trial.parent).info.experiment_id
        finished = f"{condition} AND attributes.status = 'FINISHED'"
        runs = client.search_runs([experiment_id], finished, max_results=1, order_by=["attributes.end_time ASC"])
    return runs[0].info.run_id if runs else None
