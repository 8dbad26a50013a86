"""The pull request with renewed locks, in two steps: the step with the right to push runs none of the new packages.

python renewed_locks.py --collect FOLDER    copies every lock of this repository that was changed into FOLDER
python renewed_locks.py FOLDER              commits what FOLDER has to a branch, and opens its pull request
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from edition import AUTHOR, HERE, LOGIN, git

BRANCH = "renewed-locks"
TITLE = "Renew the locks"
TEXT = """The weekly job renewed the locks, and all tests passed with them.

GitHub starts no checks for a pull request that a workflow opened: close it and open it again to start them.
"""


def locks() -> list[str]:
    """Return the names of the locks that git knows."""
    return [name for name in git(HERE, "ls-files", "-z").split("\0") if Path(name).match("requirements*.txt")]


def collect(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    changed = [name for name in locks() if git(HERE, "status", "--porcelain", "--", f":(literal){name}")]
    for number, name in enumerate(locks()):
        if name in changed:
            shutil.copyfile(HERE / name, folder / f"{number}.txt")
    return f"{len(changed)} locks were renewed."


def propose(folder: Path) -> str:
    found = {name: folder / f"{number}.txt" for number, name in enumerate(locks())}
    renewed = {name: file for name, file in found.items() if file.is_file()}
    if not renewed:
        return "No lock was renewed: there is nothing to propose."
    if opened := json.loads(gh("pr", "list", "--state", "open", "--head", BRANCH, "--json", "url")):
        return f"{opened[0]['url']} is open: merge it or close it, and the next week has another."
    for name, file in renewed.items():
        shutil.copyfile(file, HERE / name)
    named = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in AUTHOR.items()}
    git(HERE, "switch", "--quiet", "--force-create", BRANCH)
    git(HERE, "commit", "--quiet", "--message", TITLE, "--", *(f":(literal){name}" for name in renewed), **named)
    git(HERE, *LOGIN, "push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{BRANCH}")
    return f"Opened {gh('pr', 'create', '--head', BRANCH, '--title', TITLE, '--body', TEXT)}"


def gh(*arguments: str) -> str:
    done = subprocess.run(["gh", *arguments], cwd=HERE, check=False, capture_output=True, encoding="utf-8")
    if done.returncode:
        sys.exit(f"gh {arguments[1]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or (len(sys.argv) == 3) != (sys.argv[1] == "--collect"):
        sys.exit("name a folder: nox -s propose -- [--collect] FOLDER")
    print((collect if len(sys.argv) == 3 else propose)(Path(sys.argv[-1])))
