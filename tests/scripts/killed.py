"""Ends as the system ends a process that takes too much memory: killed, without a word."""

import os
import signal

os.kill(os.getpid(), signal.SIGKILL)
