"""Plays every scene in one process. The last line is JSON, {name of the run: [type, text, code] of what it raised}."""

import json
import threading

import mlflow
from reproducibility import tracked_run
from scenes import SCENES, TABLE, VALUES, set_usual_signals

raised = {}


def play(name: str, scene: str, values: dict = VALUES, **more: object) -> None:
    data = TABLE.read_bytes()
    try:
        with tracked_run(values, run_name=name, **more) as run:
            SCENES[scene](run)
    except BaseException as error:
        raised[name] = [type(error).__name__, str(error), getattr(error, "code", None)]
    TABLE.write_bytes(data)
    assert mlflow.active_run() is None, name


set_usual_signals()
for each in SCENES:
    play(each, each)
play("draws from another seed", "draws", VALUES | {"seed": 2})
for unnamed in ("unnamed", "unnamed, again"):
    with tracked_run(VALUES) as run:
        raised[unnamed] = run.info.run_name
thread = threading.Thread(target=play, args=("in a thread", "draws"))
thread.start()
thread.join()
play("many params", "logs_more_params", VALUES | {"many": {f"p{n}": n for n in range(250)}})
play("long values", "logs_more_params", VALUES | {"long": "x" * 6000}, tags={"long": "y" * 8000})
print(json.dumps(raised))
