"""What numbers depend on beside code, data and packages: the processors of the process, and variables of libraries.

A sum of floating-point numbers depends on the order of its parts. Numeric libraries split a sum among their threads. So
another number of threads, or other instructions of the processor, give other last bits, the same ones every time.

How many threads a library takes follows from the processors and from the variables, unless code sets another number.
Such code is in the run's commit. So nothing is asked of NumPy and the like, which a run may import only later.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import Refused, Violation
from ..secrets import secrets_in

_LONGEST = 2000  # characters of a value
_STEERING = re.compile(
    r"(?:OMP|GOMP|KMP|OPENBLAS|GOTO|MKL|BLIS|VECLIB|NUMEXPR)_\w+"
    r"|(?:NUMBA|RAYON)_NUM_THREADS|POLARS_MAX_THREADS|NPY_(?:DISABLE|ENABLE)_CPU_FEATURES"
    r"|CUDA_VISIBLE_DEVICES|CUBLAS_WORKSPACE_CONFIG|NVIDIA_TF32_OVERRIDE"
    r"|ATEN_CPU_CAPABILITY|TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"
    r"|XLA_FLAGS|JAX_ENABLE_X64|JAX_DEFAULT_MATMUL_PRECISION"
    r"|TF_ENABLE_ONEDNN_OPTS|TF_DETERMINISTIC_OPS|TF_CUDNN_DETERMINISTIC|TF_NUM_INT(?:RA|ER)OP_THREADS",
    re.ASCII,
)
# With a name of that kind, but they only print or name folders; scikit-learn sets the last two when it is imported.
_HARMLESS = re.compile(
    r"\w+_(?:HOME|ROOT|DIR|PATH|INCLUDE|LIB|LIBRARY|LIBRARIES|VERBOSE)|OMP_DISPLAY_\w+"
    r"|KMP_DUPLICATE_LIB_OK|KMP_INIT_AT_FORK",
    re.ASCII,
)
# They name devices and processors of one machine. On another machine, or in a process that may use other processors,
# the same value means something else or nothing: it may even hide the only GPU. Such a variable stays as it is there.
_OF_ONE_MACHINE = {"CUDA_VISIBLE_DEVICES", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"}
# With one of these, OpenMP binds the main thread to a single processor as soon as a library with OpenMP is loaded.
_BINDING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
# Not here: cudnn.benchmark, which seeding turns off for every run.
_TORCH_FLAGS = (
    ("backends.cudnn.deterministic",),
    ("backends.cuda.matmul.fp32_precision", "backends.cuda.matmul.allow_tf32"),  # TF32 since torch 2.9, and before
    ("backends.cudnn.conv.fp32_precision", "backends.cudnn.allow_tf32"),
)


def steers_numbers(name: str) -> bool:
    """Whether the environment variable *name* steers a numeric library."""
    return bool(_STEERING.fullmatch(name)) and not _HARMLESS.fullmatch(name)


def _affinity() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        is_bound = any(os.environ.get(name, "false").lower() != "false" for name in _BINDING)
        return None if is_bound else len(os.sched_getaffinity(0))
    return os.cpu_count()


# Read when this module is imported: this is what the process was started with, and what a reproduction gives to its
# process. What the code sets later is in the run's commit, and the seeding of a first run sets a variable, too.
_VARIABLES = {name: value for name, value in sorted(os.environ.items()) if steers_numbers(name)}
_PROCESSORS = _affinity()


@dataclass(frozen=True)
class Numerics:
    """What the numbers of a run depend on beside its code, its data and its packages.

    processors: how many the process may use; None if OpenMP binds threads, because the number cannot be seen then.
    cpu_quota: how many processors' worth of time the control groups of the process allow, if that is less, else None.
    It has its own place because some libraries count it (joblib) and others do not (OpenBLAS, OpenMP).
    variables: those that steer numeric libraries, {name: value}.
    torch: settings of torch; None if torch was not loaded when the first run of the process started.
    """

    processors: int | None
    cpu_quota: float | None
    variables: Mapping[str, str]
    torch: Mapping[str, Any] | None


def numerics() -> Numerics:
    """Return what the numbers of a run in this process depend on.

    Raises Refused for each variable whose value cannot be recorded, because nobody could set such a value again.
    """
    if refusals := [violation for name, value in _VARIABLES.items() for violation in _unfit(name, value)]:
        raise Refused(refusals)
    quota = min(_quotas(), default=None)
    is_less = quota is not None and quota < (_PROCESSORS or os.cpu_count() or 1)
    torch = _torch()
    return Numerics(_PROCESSORS, quota if is_less else None, _VARIABLES, torch and _torch_settings(torch))


def restored(manifest: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the variables that steer numbers as the run of *manifest* had them: {name: value}.

    None stands for a variable of this process that the run did not have. A manifest from before these variables were
    recorded changes none.
    """
    if (recorded := manifest.get("numerics")) is None:
        return {}
    values = recorded["variables"]
    names = {name for name in {*os.environ, *values} if steers_numbers(name)} - _OF_ONE_MACHINE
    return {name: values.get(name) for name in sorted(names)}


def _unfit(name: str, value: str) -> Iterator[Violation]:
    if len(value) > _LONGEST:
        problem = f"the variable has {len(value)} characters, more than the {_LONGEST} that are recorded"
        yield Violation(name, problem, "shorten it, or unset it")
    if value.encode("utf-8", "ignore").decode() != value:
        yield Violation(name, "the variable has bytes that are not UTF-8", "correct it, or unset it")
    for secret in sorted(set(secrets_in(value.encode("utf-8", "replace")).values())):
        yield Violation(name, f"the variable looks like {secret}, and its value would be recorded", "unset it")


@cache
def _torch() -> ModuleType | None:
    # Once for a process: seeding loads torch for the first run, and a second one would seem to differ from the first.
    return sys.modules.get("torch")


def _torch_settings(torch: ModuleType) -> dict[str, Any]:
    found = {"num_threads": torch.get_num_threads(), "num_interop_threads": torch.get_num_interop_threads()}
    for names in _TORCH_FLAGS:
        for name in names:
            # A torch of another age has another name for it, and one that was set by both names refuses to tell.
            with suppress(AttributeError, RuntimeError):
                found[name.removeprefix("backends.")] = attrgetter(name)(torch)
                break
    return found


def _quotas(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Iterator[float]:
    """Yield the quota of each control group that this process is in, in processors; nothing where there are none."""
    with suppress(OSError):
        for line in groups.read_text("utf-8", "replace").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            top = root / "cpu" if controllers else root
            # In a container the path may be the host's, of which only the top is visible.
            group = top / path.strip("/")
            for folder in (group, *group.parents[: len(group.parts) - len(top.parts)]):
                with suppress(OSError, ValueError):  # no such group, or no quota
                    yield _quota(folder, is_first_version=bool(controllers))


def _quota(folder: Path, *, is_first_version: bool) -> float:
    if is_first_version:
        quota, period = (int((folder / f"cpu.cfs_{each}_us").read_text()) for each in ("quota", "period"))
    else:
        quota, period = map(int, (folder / "cpu.max").read_text().split())
    if quota <= 0:
        raise ValueError("no quota")
    return round(quota / period, 2)
