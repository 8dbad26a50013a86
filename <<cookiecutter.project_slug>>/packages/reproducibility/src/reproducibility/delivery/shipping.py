"""Shipping: the server gets what a journal holds, in its order, in batches, each entry once.

An entry that was sent but not answered is sent again. That changes nothing on the server: a point of a metric has its
time from the call that logged it, a param its value, a file its path, and a run its id. At most one batch is repeated,
with the files between its entries.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from filelock import Timeout

from ..secrets import recordable
from ..tags import EXPERIMENT_TAGS, FAILURE_TAG
from . import offline
from .batch import MOST, Batch, pairs
from .journal import Journal, journals_inside
from .server import API, Away, EntriesRefused, RefusedByServer, Server

_MOST_FILE_BYTES = 1_000_000  # so much of files is sent again with a batch
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 5.0

Progress = Callable[[int], None]  # is told how many bytes of the logs were shipped since the last call


def ship(
    journal: Journal,
    *,
    end: bool = False,
    progress: Progress | None = None,
    lock_timeout_s: float = 60,
    is_inside: bool = False,
) -> bool:
    """Send what *journal* holds now; with *end* also the end of the run, if it holds one, and then delete the journal.

    is_inside: the run around it is being shipped by the caller. Returns whether the server answered anything.

    Raises Away where the server does not answer, journal.Damaged, and RefusedByServer if the server refused the run's
    beginning or end; EntriesRefused if the run failed because of what it logged. Other refusals are noted in the
    journal.
    """
    try:
        with journal.shipping(lock_timeout_s):
            journal.reload()
            if journal.exists:
                shipment = _Shipment(journal, end, progress, is_inside)
                shipment.run()
                return shipment.server.has_answered
    except FileNotFoundError:
        if journal.exists:
            raise
        # Another process shipped all of it meanwhile.
    except Timeout:
        raise Busy("the run is being shipped already") from None
    return False


def deliver(
    journal: Journal,
    patience_s: float,
    *,
    end: bool = False,
    progress: Progress | None = None,
    gives_up: Callable[[], bool] = lambda: False,
) -> None:
    """Ship *journal* and wait for the server, as long as there was progress within the last *patience_s* seconds.

    gives_up: asked about once a second whether to wait no longer. Raises as `ship` does.
    """
    pause, since, shipped = _FIRST_PAUSE_S, time.monotonic(), journal.shipped()
    while True:
        try:
            ship(journal, end=end, progress=progress, lock_timeout_s=_LONGEST_PAUSE_S)
            return
        except Away as away:
            now = time.monotonic()
            now_shipped = journal.shipped()
            if isinstance(away, Busy) or now_shipped != shipped:
                pause, since, shipped = _FIRST_PAUSE_S, now, now_shipped
            until = min(now + pause, since + patience_s)
            while time.monotonic() < until and not gives_up():
                time.sleep(min(1.0, max(0.0, until - time.monotonic())))
            if now - since >= patience_s or gives_up():
                raise
            pause = min(2 * pause, _LONGEST_PAUSE_S)


class Busy(Away):
    """Another thread or process ships the journal. It will end: each of its requests does."""


class _Shipment:
    """One pass over the logs of a journal."""

    def __init__(self, journal: Journal, end: bool, progress: Progress | None, is_inside: bool) -> None:
        self.journal = journal
        self.server = Server(journal.header.uri, journal.header.workspace)
        self.with_end = end
        self.progress = progress
        self.is_inside = is_inside
        self.offsets = journal.shipped()

    def run(self) -> None:
        self._create()
        refused = None
        for log in self.journal.logs():
            while self.journal.exists:
                try:
                    self._ship_log(log)
                    break
                except RefusedByServer as error:  # an end that was not up to whoever told it: the run goes on
                    refused = error
        if refused is not None:
            raise refused

    def _create(self) -> None:
        """Let the server have the run, if the run was begun without it: offline, or in an outage inside another run."""
        header = self.journal.header
        if header.is_created:
            return
        self._ship_around()
        if header.experiment is None and header.parent is None:
            self._ask_whether_created()
            return
        body = {
            "experiment_id": header.experiment_id,
            "user_id": header.user_id,
            "start_time": header.start_time,
            "run_name": header.run_name,
            "tags": pairs(header.tags),
        }
        if header.experiment is not None:
            body["experiment_id"] = _experiment_id(self.server, header.experiment)
        info = self.server.tell(f"{API}/runs/create", body)["run"]["info"]
        if info["run_id"] != self.journal.run_id:
            self.server.tell(f"{API}/runs/delete", {"run_id": info["run_id"]})
            raise RefusedByServer("this server has no gate, so it takes no run that was begun without it")
        self.journal.update(
            is_created=True, is_gated=True, experiment_id=info["experiment_id"], artifact_uri=info["artifact_uri"]
        )

    def _ship_around(self) -> None:
        """Let the server have what was said in the run around this one: this one is part of that run."""
        run_id = self.journal.header.parent
        if run_id and not self.is_inside and (parent := Journal.find(run_id)) is not None:
            ship(parent, lock_timeout_s=_LONGEST_PAUSE_S)

    def _ask_whether_created(self) -> None:
        """Find out whether the server has a run whose beginning it was asked for, and whose process lost the answer."""
        try:
            run = self.server.ask("runs/get", run_id=self.journal.run_id)["run"]
        except RefusedByServer as refused:
            if not refused.says_there_is_none:
                raise Away(str(refused)) from None
            self.journal.remove()  # the run began nowhere
        else:
            self.journal.update(is_created=True, is_gated=True, artifact_uri=run["info"]["artifact_uri"])

    def _ship_log(self, log: str) -> None:
        batch = Batch()
        for entry, offset in self.journal.entries(log, self.offsets.get(log, 0)):
            if "log" in entry:
                if not batch.takes(entry["log"]):
                    batch = self._send_batch(batch, log)
                batch.add(entry["log"], offset)
            elif "end" in entry:
                self._send_batch(batch, log)
                if self.with_end:
                    self._end(entry["end"], log, offset)
                return
            else:
                copy = self.journal.file(entry["file"]) if "file" in entry else None
                if batch.size and batch.file_bytes + (copy.stat().st_size if copy else 0) > _MOST_FILE_BYTES:
                    batch = self._send_batch(batch, log)
                self._send(entry)
                batch.pass_over(copy, offset)
                if not batch.size:
                    batch = self._send_batch(batch, log)
        self._send_batch(batch, log)

    def _send_batch(self, batch: Batch, log: str) -> Batch:
        """Send a batch, note that the server has everything up to its offset, and return an empty batch."""
        if batch.size:
            self._send_items(batch.items())
        if batch.offset:
            self._note(log, batch.offset)
        for copy in batch.files:
            copy.unlink(missing_ok=True)
        return Batch()

    def _send_items(self, items: list[tuple[str, Any]]) -> None:
        """Send a batch. If the server refuses it, send each half, so that only what is wrong stays behind."""
        log: dict[str, list[Any]] = {kind: [] for kind in MOST}
        for kind, item in items:
            log[kind].append(item)
        try:
            self.server.tell(f"{API}/runs/log-batch", {"run_id": self.journal.run_id, **log})
        except RefusedByServer as refused:
            if len(items) == 1 or self._is_closed():
                self.journal.refuse({"log": log}, str(refused))
                return
            self._send_items(items[: len(items) // 2])
            self._send_items(items[len(items) // 2 :])

    def _is_closed(self) -> bool:
        """Whether the run ended or was deleted on the server, which then takes nothing more."""
        try:
            info = self.server.ask("runs/get", run_id=self.journal.run_id)["run"]["info"]
        except RefusedByServer as refused:
            return refused.says_there_is_none
        return info["status"] != "RUNNING" or info["lifecycle_stage"] != "active"

    def _send(self, entry: Mapping[str, Any]) -> None:
        """Send an entry that is not part of a batch: a file, or a request as MLflow makes it."""
        try:
            if "file" in entry:
                copy = self.journal.file(entry["file"])
                is_of_model = entry["of"] != self.journal.run_id
                if self.journal.header.experiment is not None and is_of_model and entry["to"] == "MLmodel":
                    copy.write_text(self._in_place(copy.read_text("utf-8")), "utf-8")
                self.server.put(copy, self._path(entry["of"], entry["to"]))
            else:
                body = entry["body"]
                if self.journal.header.experiment is not None:
                    body = json.loads(self._in_place(json.dumps(body)))
                self.server.tell(entry["path"], body, entry["method"])
        except RefusedByServer as refused:
            self.journal.refuse(entry, str(refused))

    def _in_place(self, text: str) -> str:
        """Return *text* with the addresses and the experiment that the server gave to a run that was begun offline."""
        header = self.journal.header
        place = header.artifact_uri.removesuffix(f"{self.journal.run_id}/artifacts")
        text = text.replace(offline.artifact_uri(""), place)
        return text.replace(json.dumps(offline.experiment_id(header.experiment)), json.dumps(header.experiment_id))

    def _path(self, owner: str, to: str) -> str:
        """Return where the server keeps the file *to* of *owner*, which is the run or a model of the run."""
        folder = urlsplit(self.journal.header.artifact_uri).path.strip("/")
        if owner != self.journal.run_id:
            folder = f"{folder.removesuffix(f'{self.journal.run_id}/artifacts')}models/{owner}/artifacts"
        return f"{folder}/{to}"

    def _end(self, end: Mapping[str, Any], log: str, offset: int) -> None:
        """Tell the server the end of the run, after all that was said in the run and in the runs inside it.

        Raises RefusedByServer. If the run goes on then, its end was not up to whoever told it.
        """
        self._ship_around()
        self.with_end = False
        for other in self.journal.logs():
            if other != log:
                self._ship_log(other)
        self.with_end = True
        for inner in journals_inside(self.journal.run_id):
            with suppress(RefusedByServer):  # the gate made the inner run FAILED, with the reason
                ship(inner, end=True, lock_timeout_s=_LONGEST_PAUSE_S, is_inside=True)
        why = None
        if end["status"] == "FINISHED" and (refusals := self.journal.refusals()):
            why = recordable(f"the server refused something that the run logged: {refusals[0]}")
            self._send_items([("tags", {"key": FAILURE_TAG, "value": why})])
            end = {**end, "status": "FAILED"}
        try:
            self.server.tell(f"{API}/runs/update", {"run_id": self.journal.run_id, **end})
        except RefusedByServer:
            # Asked first: if the server is away now, the end is sent again, and refused again.
            is_closed = self._is_closed()
            self._note(log, offset)
            if is_closed:
                self.journal.remove()
            raise
        self._note(log, offset)
        # Notes that were added to the run after its end, while the server was away.
        self.with_end = False
        for each in self.journal.logs():
            self._ship_log(each)
        self.journal.remove()
        if why is not None:
            raise EntriesRefused(why)

    def _note(self, log: str, offset: int) -> None:
        before = self.offsets.get(log, 0)
        self.offsets[log] = offset
        self.journal.note_shipped(self.offsets)
        if self.progress is not None:
            self.progress(offset - before)


def _experiment_id(server: Server, name: str) -> str:
    """Return the id of the experiment *name*; create the experiment if the server has none."""
    try:
        return server.ask("experiments/get-by-name", experiment_name=name)["experiment"]["experiment_id"]
    except RefusedByServer as refused:
        if not refused.says_there_is_none:
            raise
        body = {"name": name, "tags": pairs(EXPERIMENT_TAGS)}
        return server.tell(f"{API}/experiments/create", body)["experiment_id"]
