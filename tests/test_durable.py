"""Nothing that a run said is lost: the server goes away, processes are killed, the disk is full; `repro sync` ships.

The runs are in tests/scripts/durable.py. The server is a real one, and is killed as a machine kills it.
"""

import json
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess
from threading import Event
from uuid import uuid4

import pytest
from conftest import code_of
from relay import Relay
from reproducibility.delivery.journal import Damaged, Ended, Header, Journal, journals
from signals import default_signals
from small_disk import small_disk
from tracking_server import TrackingServer
from workbench import Workbench

API = "/api/2.0/mlflow"
HERE = {"REPRODUCIBILITY_PATIENCE": "2"}  # seconds that the end of a run waits for a server that is away


class Stage:
    """A project whose runs go to a server of its own, which can be killed."""

    def __init__(
        self, workbench: Workbench, server: TrackingServer, folder: Path, python: Path, env: dict[str, str]
    ) -> None:
        self.workbench, self.server, self.python, self.clean_env = workbench, server, python, env
        self.store, self.files = folder / "server.db", folder / "files"
        self.env = {"MLFLOW_TRACKING_URI": server.uri, **HERE}

    def play(self, way: str, folder: Path, **env: str) -> CompletedProcess[str]:
        return self.workbench.run("python", "scripts/durable.py", way, folder, env=self.env | env)

    def start(self, script: Path, way: str, folder: Path, env: dict[str, str]) -> "subprocess.Popen[str]":
        """Play *way* in a process of its own, which gets signals."""
        command = [self.python, script, way, folder]
        env = self.clean_env | env
        return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, preexec_fn=default_signals)

    def sync(self, *options: str, **env: str) -> CompletedProcess[str]:
        return self.workbench.run("repro", "sync", *options, env=self.env | env)

    def status(self, name: str) -> str:
        return self.workbench.runs(self.store)[name].status

    def points(self, name: str, key: str) -> list[int]:
        """Return the step of each point of a metric, in their order."""
        run_id = self.workbench.runs(self.store)[name].id
        query = "SELECT step FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY step"
        with closing(sqlite3.connect(self.store)) as database:
            return [step for (step,) in database.execute(query, (run_id, key))]

    def waiting(self) -> list[dict]:
        return json.loads(self.sync("--status", "--json").stdout)


@pytest.fixture(scope="module")
def stage(
    run_in: Callable[..., CompletedProcess[str]],
    project: Path,
    python: Path,
    server_python: Path,
    clean_env: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("durable")
    workbench = Workbench(run_in, Path(copytree(project, folder / project.name)))
    workbench.add("durable.py")
    workbench.commit()
    env = clean_env | {"PYTHONPATH": code_of(workbench.path)}
    env |= {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'server.db'}"}
    env |= {"MLFLOW_ARTIFACTS_DESTINATION": (folder / "files").as_uri()}
    with TrackingServer([server_python.parent / "repro", "server", "run"], env, folder / "log") as server:
        own = clean_env | {"PYTHONPATH": code_of(workbench.path)}
        yield Stage(workbench, server, folder, python, own)


@contextmanager
def beside(stage: Stage, way: str, folder: Path, file: str) -> Iterator["Future[CompletedProcess[str]]"]:
    """Inside, *way* is being played, and has made *file*."""
    with ThreadPoolExecutor(1) as pool:
        played = pool.submit(stage.play, way, folder)
        wait_for(folder / file, played)
        yield played


def wait_for(file: Path, played: "Future[CompletedProcess[str]]") -> None:
    until = time.monotonic() + 300
    while not file.exists():
        assert not played.done(), played.result().stderr
        assert time.monotonic() < until
        time.sleep(0.05)


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def read_until(process: "subprocess.Popen[str]", text: str) -> str:
    """Return what *process* says on standard error, up to the line with *text*."""
    read = ""
    while text not in read:
        line = process.stderr.readline()
        assert line, read
        read += line
    return read


def test_an_outage_costs_a_training_nothing(stage: Stage, tmp_path: Path) -> None:
    with beside(stage, "outage", tmp_path, "ready") as played:
        stage.server.kill()
        (tmp_path / "stopped").touch()
        wait_for(tmp_path / "through", played)  # the training goes on without its server
        stage.server.start()
        (tmp_path / "go on").touch()
        done = played.result()
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"is away \(", done.stderr)) == 1
    assert len(re.findall("is back", done.stderr)) == 1
    assert "Retrying" not in done.stderr
    everything_was_recorded(stage)
    assert stage.waiting() == []


def everything_was_recorded(stage: Stage) -> None:
    run = stage.workbench.runs(stage.store)["outage"]
    assert (run.status, run.params["late"], run.tags["late"]) == ("FINISHED", "param", "tag")
    assert stage.points("outage", "loss") == list(range(2500))
    assert {"before", "nan", "inf", "loss"} <= run.metrics.keys()
    child = stage.workbench.runs(stage.store)["child of the outage"]
    assert (child.status, child.metrics, child.tags["mlflow.parentRunId"]) == ("FINISHED", {"inner": 2.0}, run.id)
    files = {path.relative_to(stage.files).as_posix(): path for path in stage.files.rglob("*") if path.is_file()}
    own = {name.partition("artifacts/")[2]: path.read_text() for name, path in files.items() if run.id in name}
    assert own["deep/er/a b.txt"] == "text"
    assert own["log.txt"] == "first"
    models = [path.read_text() for name, path in files.items() if "/models/" in name and name.endswith("log.txt")]
    assert "changed after it was logged" in models
    with closing(sqlite3.connect(stage.store)) as database:
        found = database.execute("SELECT status FROM logged_models WHERE source_run_id = ?", (run.id,)).fetchall()
        outputs = database.execute("SELECT count(*) FROM inputs WHERE source_id = ?", (run.id,)).fetchall()
    assert found == [(2,)]  # MLflow's number for READY
    assert outputs == [(1,)]


def test_a_run_whose_server_stays_away_waits_for_sync(stage: Stage, tmp_path: Path) -> None:
    with beside(stage, "plain", tmp_path, "ready") as played:
        stage.server.kill()
        (tmp_path / "stopped").touch()
        done = played.result()
    try:
        waits = rf"run ([0-9a-f]{{32}}) is recorded here, \d+ entries wait for {stage.server.uri}: repro sync"
        run_id = re.search(waits, done.stderr)[1]
        (waiting,) = stage.waiting()
        assert (waiting["run_id"], waiting["state"]) == (run_id, "ended")
        away = stage.sync()
        assert (away.returncode, "waits on: nothing answers there" in away.stdout) == (2, True)
        assert stage.sync("--status").returncode == 1
        unknown = stage.sync("ffff")
        assert unknown.returncode == 2
        assert "no runs wait on this machine whose id begins with 'ffff'" in unknown.stderr
    finally:
        stage.server.start()
    with ThreadPoolExecutor(2) as pool:  # two at once
        both = [pool.submit(stage.sync), pool.submit(stage.sync, run_id[:6])]
        results = [future.result() for future in both]
    assert any(result.returncode == 0 for result in results), results
    assert stage.waiting() == []
    assert (stage.status("left"), stage.points("left", "loss")) == ("FINISHED", [0, 1])
    assert stage.workbench.run("repro", "validate", run_id, env=stage.env).returncode == 0


def test_a_server_that_is_restarted_all_the_time_loses_nothing_of_many_processes(stage: Stage, tmp_path: Path) -> None:
    with beside(stage, "crowd", tmp_path, "ready") as played:
        for _ in range(3):
            time.sleep(1)
            stage.server.kill()
            stage.server.start()
        done = played.result()
    assert done.returncode == 0, done.stderr
    if stage.waiting():  # the last restart took longer than the patience at the end
        assert stage.sync().returncode == 0
    assert stage.status("crowd") == "FINISHED"
    for worker in range(4):
        said = [int(line) for line in (tmp_path / f"said {worker}").read_text().split()]
        assert stage.points("crowd", f"worker {worker}") == said == list(range(150))


def test_a_process_that_is_killed_loses_nothing_that_it_said(stage: Stage, tmp_path: Path) -> None:
    done = stage.play("killed", tmp_path)
    assert done.returncode == 0, done.stderr
    assert stage.sync().returncode == 0
    assert stage.waiting() == []
    runs = stage.workbench.runs(stage.store)
    for number in range(20):
        said = int((tmp_path / f"killed {number}").read_text())
        points = stage.points(f"killed {number}", "loss")
        # The last call may have been killed between its entry and its return.
        assert points in (list(range(said)), list(range(said + 1))), number
        run = runs[f"killed {number}"]
        assert (run.status, run.tags["failure"]) == ("FAILED", "its process was killed")


def test_what_the_server_refuses_later_fails_the_run_and_nothing_else_is_lost(stage: Stage, tmp_path: Path) -> None:
    done = stage.play("refused", tmp_path)
    assert done.returncode == 1, done.stderr
    run = stage.workbench.runs(stage.store)["refused"]
    assert run.status == "FAILED"
    assert "the server refused something that the run logged" in run.tags["failure"]
    assert "Changing param values is not allowed" in run.tags["failure"]
    assert (stage.points("refused", "worker"), stage.points("refused", "own")) == ([0, 1], [0])
    kept = stage.workbench.path / ".cache" / "journal" / "refused" / f"{run.id}.jsonl"
    (line,) = kept.read_text().splitlines()
    assert json.loads(line)["entry"]["log"]["params"] == [{"key": "seed", "value": "2"}]


def test_what_mlflow_refuses_at_the_call_is_refused_there(stage: Stage, tmp_path: Path) -> None:
    done = stage.play("wrong", tmp_path)
    assert done.returncode == 0, done.stderr
    key, value, param, again, frozen, path = done.stdout.splitlines()
    assert 'Invalid value "a//b"' in key
    assert "many" in value
    assert "Changing param values is not allowed" in param
    assert "Changing param values is not allowed" in again
    assert "git_commit of run" in frozen
    assert "Invalid path" in path
    assert stage.status("wrong") == "FINISHED"


def test_a_full_disk_fails_the_run_with_this_reason(stage: Stage, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "512k") as disk:
        done = stage.play("full", tmp_path, REPRODUCIBILITY_JOURNAL=str(disk / "journal"))
        assert done.returncode == 1, done.stderr
        said = int((tmp_path / "said").read_text())
        if stage.status("full") == "RUNNING":
            assert stage.sync(REPRODUCIBILITY_JOURNAL=str(disk / "journal")).returncode == 0
    run = stage.workbench.runs(stage.store)["full"]
    assert run.status == "FAILED"
    assert "No space left on device" in run.tags["failure"]
    assert stage.points("full", "loss") == list(range(said))


def test_a_journal_that_is_deleted_during_the_run_fails_the_run(stage: Stage, tmp_path: Path) -> None:
    done = stage.play("deleted", tmp_path)
    assert done.returncode == 1
    run = stage.workbench.runs(stage.store)["deleted"]
    assert run.status == "FAILED"
    assert "the journal of the run was deleted while the run went on" in run.tags["failure"]


def test_what_threads_say_while_the_run_ends_is_recorded_or_refused(stage: Stage, tmp_path: Path) -> None:
    done = stage.play("late", tmp_path)
    assert done.returncode == 0, done.stderr
    said, errors = json.loads(done.stdout)
    assert len(errors) == 3
    assert all("its record is closed" in error for error in errors), errors
    for thread, count in enumerate(said):
        assert stage.points("late", f"thread {thread}") == list(range(count))
    run = stage.workbench.runs(stage.store)["late"]
    assert (run.status, run.tags["note"]) == ("FINISHED", "after the end")


# --- A proxy between the run and its server.

EVERYTHING = ("GET", "POST", "PUT", "PATCH")
PROXIES = {
    # Followed, an upload would become a question, which the server answers well.
    "another address": ("302 Found", "", ("PUT",), f"Location: {API}/experiments/get?experiment_id=0"),
    "a page": ("200 OK", "<html>sign in</html>", EVERYTHING, "Content-Type: text/html"),
    "a page for uploads": ("200 OK", "<html>sign in</html>", ("PUT",), "Content-Type: text/html"),
    "no route": ("404 Not Found", '{"message": "no Route matched"}', EVERYTHING, "Content-Type: application/json"),
    "a bad gateway": ("502 Bad Gateway", "<html>oops</html>", EVERYTHING, "Content-Type: text/html"),
    "no login": ("401 Unauthorized", "", EVERYTHING, "Content-Type: text/html"),
}


@pytest.mark.parametrize("answer", PROXIES)
def test_what_a_proxy_says_for_a_while_is_not_the_word_of_the_server(stage: Stage, tmp_path: Path, answer: str) -> None:
    status, body, methods, header = PROXIES[answer]
    with Relay(stage.server.uri) as relay, ThreadPoolExecutor(1) as pool:
        env = {"MLFLOW_TRACKING_URI": relay.uri, "REPRODUCIBILITY_PATIENCE": "60"}
        played = pool.submit(stage.play, "proxied", tmp_path, **env)
        wait_for(tmp_path / "ready", played)
        relay.answer(status, body, *methods, header=header)
        (tmp_path / "stopped").touch()
        wait_for(tmp_path / "through", played)
        time.sleep(2)
        relay.open()
        (tmp_path / "go on").touch()
        done = played.result()
    assert done.returncode == 0, done.stderr
    run = [run for run in stage.workbench.every_run(stage.store) if run.name == "proxied"][-1]
    assert run.status == "FINISHED"
    with closing(sqlite3.connect(stage.store)) as database:
        query = "SELECT count(*) FROM metrics WHERE run_uuid = ?"
        assert database.execute(query, (run.id,)).fetchone() == (200,)
    (file,) = [path for path in stage.files.rglob("late.txt") if run.id in path.as_posix()]
    assert file.read_text() == "said while a proxy answered"


def test_a_file_that_a_proxy_refuses_as_too_large_is_kept(stage: Stage, tmp_path: Path) -> None:
    with Relay(stage.server.uri) as relay, ThreadPoolExecutor(1) as pool:
        played = pool.submit(stage.play, "proxied", tmp_path, MLFLOW_TRACKING_URI=relay.uri)
        wait_for(tmp_path / "ready", played)
        relay.answer("413 Request Entity Too Large", "<html>nginx</html>", "PUT")
        for file in ("stopped", "go on"):
            (tmp_path / file).touch()
        done = played.result()
    assert done.returncode == 1
    run = [run for run in stage.workbench.every_run(stage.store) if run.name == "proxied"][-1]
    assert run.status == "FAILED"
    assert "late.txt: it is larger than a proxy in front of the server lets through" in run.tags["failure"]
    kept = stage.workbench.path / ".cache" / "journal" / "refused" / run.id / "late.txt"
    assert kept.read_text() == "said while a proxy answered"


def test_an_end_that_is_refused_while_the_server_goes_away_is_refused(stage: Stage, tmp_path: Path) -> None:
    script = stage.workbench.path / "scripts" / "durable.py"
    before = set(stage.files.rglob("manifest.json"))
    with Relay(stage.server.uri) as relay:
        env = stage.env | {"MLFLOW_TRACKING_URI": relay.uri, "REPRODUCIBILITY_PATIENCE": "600"}
        process = stage.start(script, "plain", tmp_path, env)
        try:
            wait_until(lambda: (tmp_path / "ready").exists() and set(stage.files.rglob("manifest.json")) > before)
            (manifest,) = set(stage.files.rglob("manifest.json")) - before
            manifest.unlink()
            # The server answers that the run may not finish, and then nothing more: not what has become of the run.
            relay.answer("503 Service Unavailable", "", "GET")
            (tmp_path / "stopped").touch()
            read = read_until(process, "leaves the rest")
            relay.open()
            read += process.communicate(timeout=300)[1]
        finally:
            process.kill()
    assert process.returncode != 0, read
    assert "reproducibility gate: run" in read
    assert status_of(stage, manifest.parents[2].name) == "FAILED"


def test_ctrl_c_ends_the_wait_for_a_server_and_nothing_is_lost(stage: Stage, tmp_path: Path) -> None:
    script = stage.workbench.path / "scripts" / "durable.py"
    with Relay(stage.server.uri) as relay:
        env = stage.env | {"MLFLOW_TRACKING_URI": relay.uri, "REPRODUCIBILITY_PATIENCE": "600"}
        process = stage.start(script, "plain", tmp_path, env)
        try:
            wait_until((tmp_path / "ready").exists)
            relay.shut()
            (tmp_path / "stopped").touch()
            read = read_until(process, "Ctrl-C leaves the rest")
            process.send_signal(signal.SIGINT)
            read += process.communicate(timeout=300)[1]
        finally:
            process.kill()
        assert re.search(r"run [0-9a-f]{32} is recorded here, \d+ entries wait", read), read
        assert process.returncode != 0
        relay.open()
        run_id = re.search("run ([0-9a-f]{32}) is recorded here", read)[1]
        assert stage.sync(run_id).returncode == 0
    assert status_of(stage, run_id) == "FINISHED"


# --- Begun without a server.


def begin_offline(stage: Stage, tmp_path: Path) -> Path:
    """Return the journal of a run that was recorded without its server."""
    before = {waiting["run_id"] for waiting in stage.waiting()}
    for file in ("stopped", "go on"):
        (tmp_path / file).touch()
    done = stage.play("plain", tmp_path, REPRODUCIBILITY_OFFLINE="1", MLFLOW_TRACKING_URI=stage.server.uri)
    assert done.returncode == 0, done.stderr
    (run_id,) = {waiting["run_id"] for waiting in stage.waiting()} - before
    assert f"run {run_id} is recorded here" in done.stderr
    return stage.workbench.path / ".cache" / "journal" / run_id


def status_of(stage: Stage, run_id: str) -> str | None:
    return next((run.status for run in stage.workbench.every_run(stage.store) if run.id == run_id), None)


def test_a_run_that_was_begun_offline_is_judged_when_it_is_synced(stage: Stage, tmp_path: Path) -> None:
    journal = begin_offline(stage, tmp_path)
    assert status_of(stage, journal.name) is None
    done = stage.sync()
    assert done.returncode == 0, done.stdout
    assert status_of(stage, journal.name) == "FINISHED"
    assert stage.workbench.run("repro", "validate", journal.name, env=stage.env).returncode == 0


def test_a_run_that_waits_takes_notes_and_nothing_else(stage: Stage, tmp_path: Path) -> None:
    done = stage.play("noted", tmp_path, REPRODUCIBILITY_OFFLINE="1")
    assert (done.returncode, "its record is closed" in done.stdout) == (0, True), done.stderr
    assert stage.sync().returncode == 0
    run = stage.workbench.runs(stage.store)["noted"]
    assert (run.status, run.tags["note"], run.metrics) == ("FINISHED", "after the end", {"loss": 1.0})


def test_one_run_that_cannot_be_shipped_does_not_keep_others_from_it(stage: Stage, tmp_path: Path) -> None:
    broken, good = begin_offline(stage, tmp_path), begin_offline(stage, tmp_path)
    for file in (broken / "files").iterdir():
        file.unlink()
    done = stage.sync()
    assert (done.returncode, f"run {broken.name}" in done.stdout, "cannot be shipped" in done.stdout) == (1, True, True)
    assert status_of(stage, good.name) == "FINISHED"
    subprocess.run(["rm", "-r", broken], check=True)


def test_a_journal_that_is_damaged_does_not_keep_another_run_from_its_end(stage: Stage, tmp_path: Path) -> None:
    damaged = stage.workbench.path / ".cache" / "journal" / ("d" * 32)
    damaged.mkdir(parents=True)
    (damaged / "run.json").write_text("half a hea")
    (tmp_path / "stopped").touch()
    try:
        done = stage.play("plain", tmp_path)
        synced = stage.sync()
    finally:
        subprocess.run(["rm", "-r", damaged], check=True)
    assert done.returncode == 0, done.stderr
    assert stage.status("left") == "FINISHED"
    assert (synced.returncode, "run.json cannot be read" in synced.stdout) == (1, True)


def test_commands_say_where_a_run_is_that_waits(stage: Stage, tmp_path: Path) -> None:
    journal = begin_offline(stage, tmp_path)
    done = stage.workbench.run("repro", "validate", journal.name, env=stage.env)
    assert (done.returncode, "repro sync ships it from this machine" in done.stderr) == (2, True)
    audit = stage.workbench.run("repro", "audit", "--json", env=stage.env)
    assert json.loads(audit.stdout)["waiting"] == [journal.name]
    assert stage.sync(journal.name).returncode == 0


def rewrite(journal: Path, change: Callable[[dict], dict | None]) -> None:
    """Change the entries of a log as somebody would who knows its form; None takes an entry away."""
    from zlib import crc32

    changed = [change(json.loads(line.partition(b" ")[2])) for line in (journal / "run.log").read_bytes().splitlines()]
    bodies = [json.dumps(entry).encode() for entry in changed if entry is not None]
    (journal / "run.log").write_bytes(b"".join(b"%08x %b\n" % (crc32(body), body) for body in bodies))


def without_token(entry: dict) -> dict | None:
    return None if "reproducibility.token" in entry.get("log", {}).get("tags", {}) else entry


def with_another_seed(entry: dict) -> dict:
    if "seed" in entry.get("log", {}).get("params", {}):
        entry["log"]["params"]["seed"] = "2"
    return entry


def test_what_is_logged_around_files_is_shipped_in_one_request(stage: Stage, tmp_path: Path) -> None:
    begin_offline(stage, tmp_path)
    before = stage.server.log.stat().st_size
    assert stage.sync().returncode == 0
    asked = re.findall(r'"[A-Z]+ /api/2.0/(\S+) HTTP', stage.server.log.read_bytes()[before:].decode())
    assert asked.count("mlflow/runs/log-batch") == 1
    assert len([path for path in asked if path.startswith("mlflow-artifacts/artifacts/")]) == 3


def test_two_syncs_at_once_ship_each_run_once(stage: Stage, tmp_path: Path) -> None:
    begun = [begin_offline(stage, tmp_path).name for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        syncs = [pool.submit(stage.sync) for _ in range(2)]
        listed = pool.submit(stage.sync, "--status", "--json")
    for sync in syncs:
        assert sync.result().returncode == 0, sync.result().stdout + sync.result().stderr
    assert listed.result().stderr == ""
    assert stage.waiting() == []
    ended = [(run.id, run.status) for run in stage.workbench.every_run(stage.store) if run.id in begun]
    assert sorted(ended) == sorted((run_id, "FINISHED") for run_id in begun)


@pytest.mark.parametrize("forged", ["no token", "another seed", "other evidence", "another commit", "no commit"])
def test_a_forged_journal_does_not_pass_the_gate(stage: Stage, tmp_path: Path, forged: str) -> None:
    journal = begin_offline(stage, tmp_path)
    header = json.loads((journal / "run.json").read_text())
    if forged == "no token":
        rewrite(journal, without_token)
    elif forged == "another seed":
        rewrite(journal, with_another_seed)
    elif forged == "other evidence":
        for file in (journal / "files").iterdir():
            file.write_bytes(file.read_bytes() + b"\n# forged\n")
    elif forged == "another commit":
        header["tags"]["git_commit"] = "0" * 40
    else:
        del header["tags"]["git_commit"]
    (journal / "run.json").write_text(json.dumps(header))
    done = stage.sync(journal.name)
    assert done.returncode == 1, done.stdout
    assert "reproducibility gate" in done.stdout
    assert status_of(stage, journal.name) in (None, "FAILED", "RUNNING")
    if journal.exists():  # what the gate does not let begin stays here, and is told again
        subprocess.run(["rm", "-r", journal], check=True)


def test_a_run_does_not_begin_offline_where_no_server_is_needed(stage: Stage, tmp_path: Path) -> None:
    done = stage.workbench.run(
        *["repro", "train", "configs/experiment.yaml", "--offline"], env={"MLFLOW_TRACKING_URI": "sqlite:///x.db"}
    )
    assert (done.returncode, "--offline: the runs are kept in" in done.stderr) == (2, True)


def test_a_run_does_not_begin_offline_where_the_policy_refuses_it(stage: Stage) -> None:
    stage.workbench.edit("configs/base.yaml", "offline_runs: record", "offline_runs: refuse")
    try:
        done = stage.workbench.run("repro", "train", "configs/experiment.yaml", "--offline", env=stage.env)
    finally:
        stage.workbench.edit("configs/base.yaml", "offline_runs: refuse", "offline_runs: record")
    assert done.returncode == 2
    assert "the policy says `offline_runs: refuse`" in done.stderr
    assert stage.waiting() == []


# --- The embedded database, which needs no journal.


def test_an_embedded_database_that_another_process_locks_for_seconds_loses_nothing(
    stage: Stage, tmp_path: Path
) -> None:
    store = tmp_path / "mlflow.db"
    with ThreadPoolExecutor(1) as pool:
        played = pool.submit(stage.play, "plain", tmp_path, MLFLOW_TRACKING_URI=f"sqlite:///{store}")
        wait_for(tmp_path / "ready", played)
        with closing(sqlite3.connect(store, isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            (tmp_path / "stopped").touch()
            time.sleep(6)
            database.execute("COMMIT")
        done = played.result()
    assert done.returncode == 0, done.stderr
    run = stage.workbench.runs(store)["left"]
    assert (run.status, run.metrics) == ("FINISHED", {"loss": 2.0})


# --- Ids that a client chooses.


def test_a_client_that_lost_an_answer_asks_again_and_gets_the_same_run(stage: Stage) -> None:
    good = stage.workbench.runs(stage.store)["outage"]
    tags = [{"key": key, "value": value} for key, value in good.tags.items() if not key.startswith("mlflow.run")]

    def begin(run_id: str) -> tuple[int, str]:
        chosen = {"key": "reproducibility.run_id", "value": run_id}
        experiment = json.loads(stage.server.ask(f"{API}/runs/get?run_id={good.id}", method="GET")[1])["run"]["info"]
        body = {"experiment_id": experiment["experiment_id"], "tags": [*tags, chosen]}
        return stage.server.ask(f"{API}/runs/create", body)

    for _ in range(2):
        status, text = begin("ab" * 16)
        assert (status, json.loads(text)["run"]["info"]["run_id"]) == (200, "ab" * 16)
    assert [run.id for run in stage.workbench.every_run(stage.store)].count("ab" * 16) == 1
    assert begin(good.id)[0] == 400  # it has ended
    status, text = begin("../../etc/passwd")
    assert (status, "is no id of a run" in text) == (400, True)


# --- The journal itself.


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setenv("REPRODUCIBILITY_JOURNAL", str(tmp_path))
    return Journal.create("0" * 32, Header("http://x", "me", "1", "mlflow-artifacts:/1/x", "ada", 1, "run"))


def test_a_log_that_was_cut_anywhere_in_its_last_line_has_all_the_others(journal: Journal) -> None:
    for step in range(3):
        journal.append({"log": {"metrics": [{"key": "é\n", "value": step}]}})
    log = journal.folder / "run.log"
    whole = log.read_bytes()
    last = len(b"".join(whole.splitlines(keepends=True)[:-1]))
    for cut in range(last, len(whole)):
        log.write_bytes(whole[:cut])
        assert len(list(journal.entries("run.log"))) == 2
        taken_over = Journal.take_over(journal.run_id)
        taken_over.append({"end": {}})
        taken_over.close()
        assert [entry for entry, _ in journal.entries("run.log")][2:] == [{"end": {}}]
    log.write_bytes(whole)
    assert len(list(journal.entries("run.log"))) == 3


def test_a_line_that_was_changed_later_is_named_and_what_is_before_it_is_read(journal: Journal) -> None:
    for step in range(3):
        journal.append({"log": {"metrics": [{"key": "a", "value": step}]}})
    log = journal.folder / "run.log"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0] + lines[1].replace(b'"value":1', b'"value":7') + lines[2])
    entries = journal.entries("run.log")
    assert next(entries)[0]["log"]["metrics"][0]["value"] == 0
    with pytest.raises(Damaged, match=rf"run\.log was changed after .* ends at byte {len(lines[0] + lines[1])}"):
        next(entries)


def test_nothing_but_notes_stands_behind_the_end(journal: Journal) -> None:
    stop = Event()

    def say() -> int:
        said = 0
        with suppress(Ended):
            while not stop.is_set():
                journal.append({"log": {"metrics": [{"key": "a", "value": said}]}})
                said += 1
        return said

    with ThreadPoolExecutor(4) as pool:
        threads = [pool.submit(say) for _ in range(4)]
        try:
            time.sleep(0.1)
            journal.end({"end": {"status": "FINISHED"}})
        finally:
            time.sleep(0.1)
            stop.set()
        said = sum(thread.result() for thread in threads)
    journal.append({"log": {"tags": {"note": "later"}}}, is_note=True)
    entries = [entry for entry, _ in journal.entries("run.log")]
    assert ["end" in entry for entry in entries] == [False] * said + [True, False]


def test_a_journal_is_found_while_others_come_and_go(journal: Journal) -> None:
    done = Event()

    def come_and_go() -> None:
        while not done.is_set():
            Journal.create(uuid4().hex, journal.header).remove()

    with ThreadPoolExecutor(2) as pool:
        try:
            others = [pool.submit(come_and_go) for _ in range(2)]
            for _ in range(20_000):
                assert journal.folder in list(journals())
        finally:
            done.set()
        for other in others:
            other.result()
