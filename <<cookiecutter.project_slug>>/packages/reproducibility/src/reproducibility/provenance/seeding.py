"""Seeding: one number that every source of randomness in the process starts from."""

import importlib
import os
import random
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from ..errors import Refused, Violation

_LARGEST_SEED = 2**32 - 1  # numpy's limit, the smallest of all


@dataclass(frozen=True)
class Seeding:
    """What will be seeded: the seed, and the libraries installed here that draw from a generator of their own."""

    seed: int
    libraries: tuple[str, ...]

    def apply(self) -> None:
        """Make two processes that call this with one seed draw the same numbers in `random` and every library named.

        Also asks each library for deterministic algorithms, which may make a GPU slower or raise in an operation
        that has none. Python's own hash seed is fixed when the interpreter starts, so it is only passed on to child
        processes.
        """
        os.environ.setdefault("PYTHONHASHSEED", str(self.seed))
        random.seed(self.seed)
        for library in self.libraries:
            _SEEDERS[library](self.seed)


def plan(seed: object) -> Seeding:
    """Return the seeding for *seed*, a whole number from 0 to 4294967295; raises Refused for anything else."""
    if seed is None:
        raise Refused([Violation("seed", "no seed is set", "add `seed: 42` to configs/base.yaml")])
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= _LARGEST_SEED:
        raise Refused(
            [
                Violation(
                    "seed", f"{seed!r} is not a whole number from 0 to {_LARGEST_SEED}", "set one, such as `seed: 42`"
                )
            ]
        )
    # Installed counts as in use: a library imported only later in the run must start from the seed too.
    return Seeding(seed, tuple(name for name in _SEEDERS if name in sys.modules or find_spec(name) is not None))


def _seed_numpy(seed: int) -> None:
    importlib.import_module("numpy.random").seed(seed)


def _seed_torch(seed: int) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it first starts
    torch = importlib.import_module("torch")
    torch.manual_seed(seed)  # every device, CUDA included
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)


def _seed_tensorflow(seed: int) -> None:
    tensorflow = importlib.import_module("tensorflow")
    tensorflow.keras.utils.set_random_seed(seed)
    tensorflow.config.experimental.enable_op_determinism()


_SEEDERS = {"numpy": _seed_numpy, "torch": _seed_torch, "tensorflow": _seed_tensorflow}
