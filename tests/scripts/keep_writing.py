"""Append to the file argv[1] until killed; print a line once that has begun."""

import sys

with open(sys.argv[1], "ab", buffering=0) as file:
    print(file.write(b"x"), flush=True)
    while True:
        file.write(b"x")
