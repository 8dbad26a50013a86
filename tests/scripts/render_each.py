"""Renders a template with each of some answers: python render_each.py TEMPLATE FOLDER < answers.json

Prints a JSON list: for each answers the digest of the whole tree, with paths and modes, or the sentences of a refusal.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter


def digest(project: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(path for path in project.rglob("*") if path.is_file()):
        content = path.read_bytes()
        about = (path.relative_to(project.parent).as_posix(), os.access(path, os.X_OK), len(content))
        whole.update(repr(about).encode() + content)
    return whole.hexdigest()


def main(template: str, folder: Path) -> None:
    folder.mkdir()
    settings = folder / "settings.yaml"
    settings.write_text(json.dumps({name: str(folder / name) for name in ("cookiecutters_dir", "replay_dir")}))
    results = []
    for number, answers in enumerate(json.load(sys.stdin)):
        options = {"no_input": True, "accept_hooks": False, "config_file": str(settings)}
        try:
            made = cookiecutter(template, extra_context=answers, output_dir=str(folder / str(number)), **options)
            results.append(digest(Path(made)))
        except FailedHookException as refusal:
            results.append(str(refusal))
    print(json.dumps(results))


main(sys.argv[1], Path(sys.argv[2]))
