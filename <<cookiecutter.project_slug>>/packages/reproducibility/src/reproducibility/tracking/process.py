"""A process: named so that somebody can tell later, on the same machine, whether it still runs."""

import os
import socket
import sys
import uuid
from pathlib import Path

# What systems say of the time of a start may differ by less, and no number is given again so soon.
_TOLERANCE = 5.0
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def this_process() -> str:
    """Return the name of this process: machine, number, and the start, which tells it from others of that number."""
    return f"{_machine()} {os.getpid()} {_start(os.getpid())}"


def is_running(name: str) -> bool | None:
    """Whether the process that called itself *name* still runs; None if it ran where nobody here can look."""
    try:
        machine, number, start = name.rsplit(" ", 2)
        if machine != _machine():
            return None
        now = _start(int(number))
        if now is None or sys.platform == "linux":
            return start == now
        return abs(float(now) - float(start)) < _TOLERANCE
    except ValueError:
        return None


def _start(number: int) -> str | None:
    """Return when the process of this *number* began; None if there is none, or only what is left of one."""
    if sys.platform != "linux":
        import psutil

        try:
            return f"{psutil.Process(number).create_time():.2f}"
        except psutil.NoSuchProcess:
            return None
    # Not in seconds since 1970, which the system reckons from its clock: that may be set while the process runs.
    try:
        state, *fields = Path(f"/proc/{number}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else f"{_BOOT.read_text().strip()}/{fields[18]}"


def _machine() -> str:
    # Machines may share a name, and containers the name and the network of their machine, but not its process numbers.
    namespace = os.readlink("/proc/self/ns/pid") if sys.platform == "linux" else sys.platform
    return f"{socket.gethostname()} {uuid.getnode():012x} {namespace}"
