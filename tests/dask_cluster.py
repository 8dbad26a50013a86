"""A real Dask scheduler and workers on loopback, each started by its own command."""

import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from conftest import code_of


class DaskCluster:
    """Has a scheduler while its block runs. *programs* is the folder of an environment's programs."""

    def __init__(self, programs: Path, env: Mapping[str, str], folder: Path) -> None:
        self._programs = programs
        self._env = dict(env)
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"

    def __enter__(self) -> Self:
        port = self.address.rpartition(":")[2]
        self._start("scheduler", self._folder, "--host=127.0.0.1", f"--port={port}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def worker(self, name: str, project: Path, **variables: str) -> "subprocess.Popen[bytes]":
        """Start a worker that runs one trial at a time with the code of *project*."""
        options = ["--nthreads=1", "--no-nanny", f"--name={name}", f"--local-directory={self._folder / name}"]
        return self._start("worker", project, self.address, *options, **variables)

    def _start(self, what: str, place: Path, *options: str, **variables: str) -> "subprocess.Popen[bytes]":
        # A busy machine takes longer than Dask's own 30 seconds to let a worker in.
        env = (
            self._env | {"PYTHONPATH": code_of(place), "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "300s"} | variables
        )
        with open(self._folder / f"{what}-{len(self._processes)}.log", "wb") as log:
            command = [self._programs / "dask", what, "--no-dashboard", *options]
            process = subprocess.Popen(
                command, cwd=place, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=True
            )
        self._processes.append(process)
        return process


def programs_first(programs: Path, path: str) -> str:
    return os.pathsep.join([str(programs), path])
