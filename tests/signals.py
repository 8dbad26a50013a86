"""Signals that act as in a terminal: a test may run in the background or under nohup, where some are ignored."""

import signal


def default_signals() -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP act in the process that is started: `subprocess.Popen(preexec_fn=...)`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
