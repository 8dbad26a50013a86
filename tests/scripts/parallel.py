"""Runs that log from threads and processes in many ways. Usage: parallel.py WAY...; prints {way: what it raised}."""

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import mlflow
from joblib import Parallel, delayed
from penguin_classifier.config import ExperimentConfig
from reproducibility import PROJECT_ROOT, load, log_reproducibility_info, tracked_run

VALUES = {
    "experiment_name": "parallel",
    "seed": 7,  # not the seed of configs/base.yaml: a worker that takes that file has other tags
    "data": {"path": "data/penguins.csv", "test_fraction": 0.25},
}
WAYS: dict[str, Callable[[], object]] = {}


def way(function: Callable[[], object]) -> Callable[[], object]:
    WAYS[function.__name__] = function
    return function


# --- what a worker does


def log_point(number: int) -> None:
    mlflow.log_metric(f"point {number}", number)


def begin_child(number: int, parent: str) -> None:
    with mlflow.start_run(run_name=f"child {number} of {parent[:8]}", nested=True, parent_run_id=parent):
        mlflow.log_metric("in the child", number)


def begin_run(number: int) -> None:
    with mlflow.start_run(run_name=f"begun by worker {os.getpid()} {number}"):
        mlflow.log_metric("in the child", number)


def join(number: int, run_id: str) -> None:
    with mlflow.start_run(run_id=run_id):
        mlflow.log_metric(f"joined {number}", number)


# --- threads


@way
def a_thread_logs() -> None:
    with tracked_run(VALUES, run_name="a_thread_logs"):
        threads = [threading.Thread(target=log_point, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@way
def a_pool_of_threads_logs() -> None:
    with ThreadPoolExecutor(2) as pool, tracked_run(VALUES, run_name="a_pool_of_threads_logs"):
        list(pool.map(log_point, range(4)))


@way
def threads_begin_children() -> None:
    with tracked_run(VALUES, run_name="threads_begin_children") as run, ThreadPoolExecutor(2) as pool:
        list(pool.map(begin_child, range(2), [run.info.run_id] * 2))
        list(pool.map(begin_run, range(1)))


@way
def threads_inside_a_child_log() -> None:
    with tracked_run(VALUES, run_name="threads_inside_a_child_log"):
        for fold in range(2):
            with mlflow.start_run(run_name=f"fold {fold}", nested=True), ThreadPoolExecutor(2) as pool:
                list(pool.map(log_point, [fold, fold + 10]))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(log_point, 99).result()


@way
def joblib_threads_log() -> None:
    with tracked_run(VALUES, run_name="joblib_threads_log"):
        Parallel(n_jobs=2, backend="threading")(delayed(log_point)(number) for number in range(3))


@way
def a_thread_joins_by_id() -> None:
    with tracked_run(VALUES, run_name="a_thread_joins_by_id") as run, ThreadPoolExecutor(1) as pool:
        error = pool.submit(join, 1, run.info.run_id).exception()
        print(f"a thread's end: {error}")  # refused: the run goes on
        mlflow.log_metric("after it", 1)


@way
def two_runs_in_two_threads() -> None:
    def train(name: str) -> None:
        with tracked_run(VALUES, run_name=name):
            ready.wait()
            mlflow.log_metric("own", 1)
            ready.wait()

    ready = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(train, ["two_runs_in_two_threads", "the other of two"]))


@way
def a_thread_beside_two_runs() -> None:
    """The thread names no run, and two are open: in none of them is the point, and neither of them is good."""

    def train(name: str) -> None:
        with tracked_run(VALUES, run_name=name):
            ready.wait()
            if name == "a_thread_beside_two_runs":
                with ThreadPoolExecutor(1) as beside:
                    print(f"a thread beside: {beside.submit(log_point, 1).exception()}")
            ready.wait()

    ready = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(train, name) for name in ("a_thread_beside_two_runs", "open beside it")]
    raise futures[0].exception()


# --- processes


def in_processes(context: str, name: str) -> None:
    with tracked_run(VALUES, run_name=name) as run:
        with ProcessPoolExecutor(2, multiprocessing.get_context(context)) as pool:
            list(pool.map(log_point, range(2)))
            list(pool.map(begin_child, range(2), [run.info.run_id] * 2))
            list(pool.map(begin_run, range(1)))
        mlflow.log_metric("after them", 1)


@way
def forked_processes() -> None:
    in_processes("fork", "forked_processes")


@way
def spawned_processes() -> None:
    in_processes("spawn", "spawned_processes")


@way
def processes_of_a_fork_server() -> None:
    in_processes("forkserver", "processes_of_a_fork_server")


@way
def a_pool_older_than_its_runs() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        pool.submit(os.getpid).result()
        for number in (1, 2):
            with tracked_run(VALUES | {"seed": number}, run_name=f"a_pool_older_than_its_runs {number}") as run:
                pool.submit(begin_child, number, run.info.run_id).result()
                pool.submit(begin_run, number).result()


@way
def joblib_processes_log() -> None:
    for number in (1, 2):  # joblib keeps its workers from the first run for the second
        with tracked_run(VALUES, run_name=f"joblib_processes_log {number}") as run:
            Parallel(n_jobs=2)(delayed(log_point)(number) for number in range(2))
            Parallel(n_jobs=2)(delayed(begin_child)(number, run.info.run_id) for number in range(2))


@way
def a_step_in_a_subprocess_joins() -> None:
    with tracked_run(VALUES, run_name="a_step_in_a_subprocess_joins") as run:
        step = [sys.executable, __file__, "--step"]
        for ends in ("well", "badly"):
            subprocess.run([*step, ends], env=os.environ | {"MLFLOW_RUN_ID": run.info.run_id}, check=False)
        mlflow.log_metric("after it", 1)


def step(ends: str) -> None:
    with mlflow.start_run():
        mlflow.log_metric(f"step ends {ends}", 1)
        if ends == "badly":
            raise ValueError("the step's own")


@way
def a_forked_child_leaves() -> None:
    """Each child leaves the block in another way, while its parent goes on with the run."""
    with tracked_run(VALUES, run_name="a_forked_child_leaves"):
        for leave in (lambda: sys.exit(0), lambda: 1 / 0, lambda: os.kill(os.getpid(), signal.SIGTERM)):
            if (child := os.fork()) == 0:
                leave()
            _, status = os.waitpid(child, 0)
            mlflow.log_metric(f"status {status}", 1)


@way
def a_forked_child_falls_through() -> None:
    with tracked_run(VALUES, run_name="a_forked_child_falls_through"):
        if child := os.fork():
            os.waitpid(child, 0)
            mlflow.log_metric("after it", 1)
    if not child:
        os._exit(0)


# --- asyncio


@way
def tasks_log() -> None:
    async def log(number: int) -> None:
        await asyncio.sleep(0)
        log_point(number)

    async def train() -> None:
        with tracked_run(VALUES, run_name="tasks_log"):
            await asyncio.gather(*map(log, range(3)), asyncio.to_thread(log_point, 3))

    asyncio.run(train())


@way
def a_task_leaves_the_block_of_another() -> None:
    async def train() -> None:
        block = tracked_run(VALUES, run_name="a_task_leaves_the_block_of_another")

        async def enter() -> None:
            block.__enter__()

        async def leave() -> None:
            log_point(1)
            block.__exit__(None, None, None)

        await asyncio.create_task(enter())
        await asyncio.create_task(leave())

    asyncio.run(train())
    with tracked_run(VALUES, run_name="after the tasks"):
        pass


@way
def two_tasks_train() -> None:
    async def train(name: str) -> None:
        with tracked_run(VALUES, run_name=name):
            await asyncio.sleep(0.01)

    async def both() -> None:
        results = await asyncio.gather(train("two_tasks_train"), train("the second task"), return_exceptions=True)
        raise results[1]

    asyncio.run(both())


@way
def a_task_trains_inside_another() -> None:
    async def inner() -> None:
        with tracked_run(VALUES, run_name="the task inside"):
            log_point(1)

    async def outer() -> None:
        with tracked_run(VALUES, run_name="a_task_trains_inside_another"):
            await asyncio.create_task(inner())

    asyncio.run(outer())


# --- a run of the user's own


@way
def children_of_a_plain_run() -> None:
    mlflow.set_experiment("parallel")
    config = load(PROJECT_ROOT / "configs" / "experiment.yaml", ExperimentConfig)
    with mlflow.start_run(run_name="children_of_a_plain_run") as run:
        log_reproducibility_info(config)
        with mlflow.start_run(run_name="in its thread", nested=True):
            log_point(1)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(begin_child, 0, run.info.run_id).result()
            pool.submit(log_point, 2).result()
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            pool.submit(begin_child, 1, run.info.run_id).result()


@way
def a_bare_client_begins_a_child() -> None:
    with tracked_run(VALUES, run_name="a_bare_client_begins_a_child") as run:
        client = mlflow.MlflowClient()
        tags = {"mlflow.parentRunId": run.info.run_id, "mlflow.runName": "by a bare client"}
        child = client.create_run("0", tags=tags)  # in `Default`, as clients do that name no experiment
        client.set_terminated(child.info.run_id)


def main() -> None:
    if sys.argv[1] == "--step":
        return step(sys.argv[2])
    raised, process = {}, os.getpid()
    for name in sys.argv[1:]:
        try:
            WAYS[name]()
        except Exception as error:
            if process != os.getpid():  # a forked child has left its block
                raise
            raised[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(raised))


if __name__ == "__main__":
    main()
