"""The lifeline of a trial: the trial's process must not outlive the process that started it.

The process that starts a trial keeps the writing end of a pipe, and the trial has the reading end as its standard
input. When the first process ends, however it ends, the system closes the pipe. Then the trial sends SIGTERM to itself,
and its run ends FAILED. Linux alone could tell this without a pipe.
"""

import os
import signal
import threading
import time

VARIABLE = "REPRODUCIBILITY_LIFELINE"
_PATIENCE_S = 60.0  # for a run to end, when its process has got the signal


def hold_lifeline() -> None:
    """Watch the pipe, if this is the process of a trial; standard input is empty from now on."""
    if os.environ.pop(VARIABLE, None) is None:
        return
    pipe = os.dup(0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_watch, args=[pipe], name="lifeline", daemon=True).start()


def _watch(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_S)
    os._exit(128 + signal.SIGTERM)  # code that does not come back to Python never sees a signal
