"""A run as its journal has it: what reads of the run are answered with while the server is away."""

from collections.abc import Iterator
from typing import Any

from mlflow.entities import LifecycleStage, Metric, Param, Run, RunData, RunInfo, RunTag

from .journal import Journal


def run_in(journal: Journal) -> Run:
    """Return the run with everything that was said on this machine, shipped or not."""
    params, tags = {}, dict(journal.header.tags)
    latest: dict[str, dict[str, Any]] = {}
    for log in _logs(journal):
        params |= log.get("params", {})
        tags |= log.get("tags", {})
        for metric in log.get("metrics", ()):
            if metric["key"] not in latest or _rank(metric) >= _rank(latest[metric["key"]]):
                latest[metric["key"]] = metric
    data = RunData(
        [_metric(metric) for metric in latest.values()],
        [Param(key, value) for key, value in params.items()],
        [RunTag(key, value) for key, value in tags.items()],
    )
    return Run(info_in(journal), data)


def said_by_this_process(journal: Journal) -> Run:
    """Return the run with the params and tags that this process logged, without reading the journal."""
    params = [Param(key, value) for key, value in journal.params.items()]
    tags = [RunTag(key, value) for key, value in (journal.header.tags | journal.tags).items()]
    return Run(info_in(journal), RunData(params=params, tags=tags))


def info_in(journal: Journal, status: str = "RUNNING", end_time: int | None = None) -> RunInfo:
    """Return who began the run, when and where; by default of a run that is going on."""
    header = journal.header
    return RunInfo(
        run_id=journal.run_id,
        experiment_id=header.experiment_id,
        user_id=header.user_id,
        status=status,
        start_time=header.start_time,
        end_time=end_time,
        lifecycle_stage=LifecycleStage.ACTIVE,
        artifact_uri=header.artifact_uri,
        run_name=header.run_name,
    )


def history_in(journal: Journal, key: str) -> list[Metric]:
    """Return every point of the metric *key*, in the order of their logs."""
    return [_metric(each) for log in _logs(journal) for each in log.get("metrics", ()) if each["key"] == key]


def _logs(journal: Journal) -> Iterator[dict[str, Any]]:
    for name in journal.logs():
        yield from (entry["log"] for entry, _ in journal.entries(name) if "log" in entry)


def _rank(metric: dict[str, Any]) -> tuple[int, int]:
    return metric["step"], metric["timestamp"]


def _metric(point: dict[str, Any]) -> Metric:
    return Metric(point["key"], float(point["value"]), point["timestamp"], point["step"])
