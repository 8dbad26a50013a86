"""A Python that has imported MLflow and scikit-learn already, and forks for each command that a test runs.

Importing these takes two to four of the five seconds of CPU that a short command costs, and the tests run hundreds of
commands. A forked child gets the arguments, the folder and the variables of a new process. Then the child loads the
plugins of MLflow from its own path, as an import of MLflow does. A command whose outcome depends on how an interpreter
starts (hash seed, warnings), or how its numeric libraries do (threads), gets a new process: see `Preloaded.can_run`.
"""

import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

SERVER = Path(__file__).with_name("preloaded_server.py")


class Preloaded:
    """The process that forks, for one interpreter. Commands run one at a time; it ends with the tests.

    It has imported everything, and so compiled it, before the constructor returns.
    """

    def __init__(self, python: Path, env: Mapping[str, str]) -> None:
        self.env = {name: value for name, value in env.items() if name != "PYTHONPATH"}
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [python, SERVER, str(theirs.fileno())], env=self.env, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        self._answers = self._socket.makefile("r", encoding="utf-8")
        assert self._answers.readline() == "ready\n", "the process that forks ended while it imported"

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._process.wait()
        self._answers.close()
        self._socket.close()

    def can_run(self, argv: Sequence[str], env: Mapping[str, str]) -> bool:
        """Whether a forked child does what a new process would do: `repro`, `python SCRIPT`, `python -c CODE`."""
        name = Path(argv[0]).name
        is_known = name == "repro" or (name == "python" and len(argv) > 1 and (argv[1] == "-c" or argv[1][:1] != "-"))
        read_once = ("PYTHON", "OMP_", "OPENBLAS_")
        of_start = {key for key in {*env, *self.env} if key.startswith(read_once) and key != "PYTHONPATH"}
        return is_known and all(env.get(key) == self.env.get(key) for key in of_start)

    def run(
        self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float | None, encoding: str = "utf-8"
    ) -> "CompletedProcess[str] | None":
        """Run *argv* in *cwd* with exactly *env*, and capture its output; None while another command runs.

        Raises subprocess.TimeoutExpired, and kills the command then.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
                asked = json.dumps({"argv": list(argv), "cwd": str(cwd), "env": dict(env)}).encode()
                socket.send_fds(self._socket, [len(asked).to_bytes(4, "big")], [output.fileno(), errors.fileno()])
                self._socket.sendall(asked)
                child = int(self._answers.readline())
                is_late = threading.Event()

                def kill() -> None:
                    is_late.set()  # a command may also be killed by itself
                    os.kill(child, signal.SIGKILL)

                timer = threading.Timer(timeout, kill) if timeout else None
                if timer:
                    timer.start()
                status = int(self._answers.readline())
                if timer:
                    timer.cancel()
                texts = []
                for stream in (output, errors):
                    stream.seek(0)
                    texts.append(stream.read().decode(encoding).replace("\r\n", "\n"))
                if is_late.is_set() and status == -signal.SIGKILL:
                    raise subprocess.TimeoutExpired(list(argv), timeout, *texts)
                return CompletedProcess(list(argv), status, *texts)
        finally:
            self._lock.release()
