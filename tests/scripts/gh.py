#!/usr/bin/env python3
"""Stands in for GitHub's program gh: writes down what it is asked, and answers `pr list` with $GH_OPEN."""

import json
import os
import sys

with open(os.environ["GH_LOG"], "a", encoding="utf-8") as log:
    log.write(json.dumps(sys.argv[1:]) + "\n")
if sys.argv[1:3] == ["pr", "list"]:
    print(os.environ.get("GH_OPEN", "[]"))
elif sys.argv[1:3] == ["pr", "create"]:
    print("https://github.com/org/penguins/pull/8")
