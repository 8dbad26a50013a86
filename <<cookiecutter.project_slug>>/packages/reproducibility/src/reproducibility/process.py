"""The process that records a run: its name, from which this machine can tell later whether that process still runs.

On Linux the start of a process is read from /proc, in ticks since the machine was booted, together with the id of that
boot. psutil would report the start as a date, and computes that date from the clock: when somebody sets the clock, the
same process gets another date, and a run that is still alive would look dead. So psutil is asked only where there is no
/proc.
"""

import os
import socket
import sys
import uuid
from pathlib import Path

# Off Linux: two readings of one start may differ by less, and no system uses a number again so soon.
_TOLERANCE_S = 5.0
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def this_process() -> str:
    """Return the name of this process: the machine, the process number and the start.

    The start distinguishes this process from a later one that gets the same number.
    """
    return f"{_machine()} {os.getpid()} {_start(os.getpid())}"


def is_running(name: str) -> bool | None:
    """Return whether the process with this *name* still runs; None if it ran on another machine or in a container."""
    try:
        machine, number, recorded = name.rsplit(" ", 2)
        if machine != _machine():
            return None
        start = _start(int(number))
        if start is None or sys.platform == "linux":
            return start == recorded
        return abs(float(start) - float(recorded)) < _TOLERANCE_S
    except ValueError:
        return None


def _start(number: int) -> str | None:
    """Return when the process with this *number* began; None if there is none, or if it ended and is only a zombie."""
    if sys.platform != "linux":
        import psutil

        try:
            return f"{psutil.Process(number).create_time():.2f}"
        except psutil.NoSuchProcess:
            return None
    try:
        state, *fields = Path(f"/proc/{number}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else f"{_BOOT.read_text().strip()}/{fields[18]}"


def _machine() -> str:
    # Two machines may have the same name. A container may share the name and the network address of its machine, but
    # counts its processes in a namespace of its own.
    namespace = os.readlink("/proc/self/ns/pid") if sys.platform == "linux" else sys.platform
    return f"{socket.gethostname()} {uuid.getnode():012x} {namespace}"
