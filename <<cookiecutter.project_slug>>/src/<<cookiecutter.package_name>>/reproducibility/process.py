"""A process: named so that somebody can tell later, on the same machine, whether it still runs."""

import os
import socket
import sys
import uuid

PROCESS_TAG = "process"
# A clock that is set right moves what the system says of a start by less, and no number is given again so soon.
_TOLERANCE = 5.0


def this_process() -> str:
    """Return the name of this process: machine, number, start in seconds since 1970."""
    import psutil

    return f"{_machine()} {os.getpid()} {psutil.Process().create_time():.2f}"


def is_running(name: str) -> bool | None:
    """Whether the process that called itself *name* still runs; None if it ran where nobody here can look."""
    import psutil

    try:
        machine, number, start = name.rsplit(" ", 2)
        if machine != _machine():
            return None
        return abs(psutil.Process(int(number)).create_time() - float(start)) < _TOLERANCE
    except psutil.NoSuchProcess:
        return False
    except (ValueError, psutil.Error):
        return None


def _machine() -> str:
    # Machines may share a name, and containers the name and the network of their machine, but not its process numbers.
    namespace = os.readlink("/proc/self/ns/pid") if sys.platform == "linux" else sys.platform
    return f"{socket.gethostname()} {uuid.getnode():012x} {namespace}"
