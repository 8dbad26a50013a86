"""One way to look at data, in a process of its own; prints the seconds without the start of Python.

python data_version_client.py ours PATH [CACHE]   the data version, as a run takes it
python data_version_client.py blake3 PATH         every file through blake3, and nothing else
python data_version_client.py read PATH           every file read, and nothing else
python data_version_client.py walk PATH           the stat of every file, and nothing else
"""

import os
import sys
import time
from importlib import import_module
from pathlib import Path

from blake3 import blake3


def files(path: Path) -> list[str]:
    return [str(path)] if path.is_file() else sorted(map(str, path.iterdir()))


def raw_blake3(path: Path) -> None:
    for file in files(path):
        if path.is_file():
            blake3(max_threads=blake3.AUTO).update_mmap(file).digest()
        else:
            with open(file, "rb", buffering=0) as stream:
                blake3(stream.read()).digest()


def plain_read(path: Path) -> None:
    buffer = bytearray(1 << 20)
    for file in files(path):
        with open(file, "rb", buffering=0) as stream:
            if path.is_file():
                while stream.readinto(buffer):
                    pass
            else:
                stream.read()


def walk(path: Path) -> None:
    with os.scandir(path) as entries:
        for entry in entries:
            os.stat(entry.path)


def main(way: str, path: Path, cache: str = "") -> None:
    if way == "ours":
        data_version = import_module("reproducibility.provenance.data").data_version
    started = time.perf_counter()
    if way == "ours":
        data_version(path, Path(cache) if cache else None)
    else:
        {"blake3": raw_blake3, "read": plain_read, "walk": walk}[way](path)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
