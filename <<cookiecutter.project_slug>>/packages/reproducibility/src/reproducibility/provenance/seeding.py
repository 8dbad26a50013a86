"""Seeding: every source of random numbers in the process starts from one seed."""

import importlib
import os
import random
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from ..errors import refuse

_LARGEST_SEED = 2**32 - 1  # NumPy's limit; those of the other libraries are larger


@dataclass(frozen=True)
class Seeding:
    """The seed, and the installed libraries that have a random generator of their own."""

    seed: int
    libraries: tuple[str, ...]

    def apply(self) -> None:
        """Seed `random` and each library: two processes that call this with one seed draw the same numbers.

        It also asks each library for deterministic algorithms. They may be slower on a GPU, and an operation that has
        none raises. Python fixes its hash seed when it starts, so the seed only counts for child processes.
        """
        os.environ.setdefault("PYTHONHASHSEED", str(self.seed))
        random.seed(self.seed)
        for library in self.libraries:
            _SEEDERS[library](self.seed)


def plan(seed: object) -> Seeding:
    """Return the seeding for *seed*, a whole number from 0 to 4294967295; raises Refused for anything else."""
    if seed is None:
        refuse("seed", "no seed is set", "add `seed: 42` to configs/base.yaml")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= _LARGEST_SEED:
        problem = f"{seed!r} is not a whole number from 0 to {_LARGEST_SEED}"
        refuse("seed", problem, "set one, such as `seed: 42`")
    # Every installed library counts: a run may import it only later.
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
