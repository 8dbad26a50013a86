"""Sends a real signal to this process when a function of MLflow or of ours is entered: once for each argument.

An argument is a function and a signal, such as ``create_run SIGTERM``; a third word, ``ignored``, makes the process
ignore the signal. The moment is the same on any machine. The last line is JSON, {argument: [[type, code] of what came
out, whether the block ran]}.
"""

import json
import os
import signal
import sys
from types import FrameType

import mlflow
from reproducibility import tracked_run
from scenes import VALUES, set_usual_signals

results = {}
for name in sys.argv[1:]:
    function, sent, *ignored = name.split()
    number = getattr(signal, sent)
    set_usual_signals()
    if ignored:
        signal.signal(number, signal.SIG_IGN)

    def strike(frame: FrameType, event: str, argument: object, function: str = function, number: int = number) -> None:
        if event == "call" and frame.f_code.co_name == function:
            sys.setprofile(None)
            os.kill(os.getpid(), number)

    raised, ran = None, False
    sys.setprofile(strike)
    try:
        with tracked_run(VALUES, run_name=name):
            ran = True
    except BaseException as error:
        raised = [type(error).__name__, getattr(error, "code", None)]
    finally:
        sys.setprofile(None)
    assert mlflow.active_run() is None, name
    results[name] = [raised, ran]
print(json.dumps(results))
