"""Runs in the project's environment: imports what is slow to import, then forks for each command. See preloaded.py."""

import atexit
import gc
import importlib
import importlib.metadata
import json
import os
import random
import signal
import socket
import sys
import traceback
from types import ModuleType

# Whatever a short command of the project may import, apart from the project and its machinery.
SLOW = (
    "IPython",
    "alembic.command",
    "alembic.config",
    "blake3",
    "click",
    "click._termui_impl",
    "filelock",
    "logging.config",
    "matplotlib.figure",
    "mlflow",
    "mlflow.sklearn",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "mlflow.tracing.processor.otel",
    "mlflow.utils.search_logged_model_utils",
    "opentelemetry.sdk.metrics",
    "pandas",
    "platformdirs",
    "pydantic",
    "rich.console",
    "rich.table",
    "skops.io",
    "sklearn.dummy",
    "sklearn.ensemble",
    "sklearn.metrics",
    "sklearn.model_selection",
    "sklearn.pipeline",
    "sqlalchemy.dialects.sqlite",
)
# Those of MLflow that ask for plugins while MLflow is imported; the others ask when they are first used.
REGISTRIES = (
    ("mlflow.tracking.default_experiment.registry", "_default_experiment_provider_registry"),
    ("mlflow.tracking.context.registry", "_run_context_provider_registry"),
    ("mlflow.tracking._tracking_service.utils", "_tracking_store_registry"),
    ("mlflow.store.artifact.artifact_repository_registry", "_artifact_repository_registry"),
)


def preload() -> None:
    """Import what is slow, without the plugins of MLflow: which ones there are depends on the path of each command."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # its thread would not survive a fork
    found = importlib.metadata.entry_points
    importlib.metadata.entry_points = lambda **asked: (
        [] if str(asked.get("group", "")).startswith("mlflow.") else found(**asked)
    )
    for name in SLOW:
        importlib.import_module(name)
    importlib.metadata.entry_points = found
    found()  # reads which packages there are, for all children
    sys.modules["sqlalchemy.orm"].configure_mappers()
    del os.environ["MLFLOW_DISABLE_TELEMETRY"]
    own = [name for name in sys.modules if name.partition(".")[0] == "reproducibility"]
    assert not own, own
    # A child's collection of garbage would look at all of this, and so copy every page of memory.
    gc.collect()
    gc.freeze()


def serve(connection: socket.socket) -> None:
    connection.sendall(b"ready\n")
    while True:
        head, fds, _, _ = socket.recv_fds(connection, 4, 2)
        if not head:
            return
        asked = bytearray()
        while len(asked) < int.from_bytes(head, "big"):
            asked += connection.recv(1 << 20)
        if child := os.fork():
            for fd in fds:
                os.close(fd)
            connection.sendall(f"{child}\n".encode())
            _, status = os.waitpid(child, 0)
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        else:
            connection.close()
            os._exit(child_status(json.loads(asked), *fds))


def child_status(asked: dict, output: int, errors: int) -> int:
    """Become the process that was asked for, and return its exit status."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for fd, number in ((nothing, 0), (output, 1), (errors, 2)):
        os.dup2(fd, number)
    os.environ.clear()
    os.environb.update({as_bytes(name): as_bytes(value) for name, value in asked["env"].items()})
    os.chdir(asked["cwd"])
    random.seed()  # or every command would draw the same names for its runs
    sys.modules["numpy.random"].seed()
    status = 0
    try:
        run([os.fsdecode(as_bytes(argument)) for argument in asked["argv"]])
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        traceback.print_exc()
        end()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)  # as an interpreter ends then
    except BaseException:
        status = 1
        try:
            sys.excepthook(*sys.exc_info())  # as an interpreter does, with the status that the hook exits with
        except SystemExit as error:
            status = error.code
    end()
    return status & 0xFF


def as_bytes(text: str) -> bytes:
    """What the process that asks, which speaks UTF-8, would hand to a new process."""
    return text.encode("utf-8", "surrogateescape")


def end() -> None:
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def run(argv: list[str]) -> None:
    program, arguments = argv[0], argv[1:]
    is_code = arguments[:1] == ["-c"]
    script = program if os.path.basename(program) == "repro" else arguments.pop(0)
    if is_code:
        source, name, beside = arguments.pop(0), "<string>", ""
    else:
        name, beside = script, os.path.dirname(os.path.realpath(script))
        with open(script, encoding="utf-8") as file:
            source = file.read()
    sys.argv = ["-c" if is_code else script, *arguments]
    path = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    sys.path[:1] = [beside, *path]
    main = ModuleType("__main__")
    if not is_code:
        main.__file__ = name
    sys.modules["__main__"] = main
    plugins, of_a_group = importlib.metadata.entry_points(), importlib.metadata.entry_points
    importlib.metadata.entry_points = plugins.select  # read once, and not once for each of the registries
    for module, registry in REGISTRIES:
        getattr(sys.modules[module], registry).register_entrypoints()
    importlib.metadata.entry_points = of_a_group
    exec(compile(source, name, "exec"), vars(main))  # noqa: S102 - this is what an interpreter does


if __name__ == "__main__":
    preload()
    serve(socket.socket(fileno=int(sys.argv[1])))
