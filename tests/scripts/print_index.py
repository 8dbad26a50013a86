"""Prints the package index that the sessions of a noxfile use: print_index.py NOXFILE"""

import os
import runpy
import sys

runpy.run_path(sys.argv[1])
print(os.environ["UV_DEFAULT_INDEX"])
