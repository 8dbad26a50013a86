"""Prints the version of the data argv[1], as four processes find it 200 times with the cache argv[2]; once if equal."""

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from reproducibility.provenance.data import data_version

if __name__ == "__main__":
    data, cache = map(Path, sys.argv[1:])
    with ProcessPoolExecutor(4) as pool:
        versions = set(pool.map(partial(data_version, cache=cache), [data] * 200))
    for found in versions:
        print(found.version)
