"""The environment: interpreter, machine, installed packages, and how the packages drift from the lock."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ..digest import digest
from ..display import one_line
from ..errors import Refused, Violation, refuse
from ..lockfile import LOCK, pins
from ..project import installed_in_place, own_packages
from ..secrets import without_credentials
from .code import BASE_PACKAGES, image_name, inside_image

_TOOL_LOCKS = ("requirements-dev.txt", "requirements-server.txt", "requirements-sweep.txt")
# Read when this module is imported: a run may set the variable later, but only for its child processes.
_HASH_SEED = os.environ.get("PYTHONHASHSEED", "random")
# Installers come with an environment, and no run imports them.
_INSTALLERS = {"pip", "setuptools", "wheel", "uv"}
_END_OF_FIELDS = re.compile(r"\n\r?\n")
# The two fields of a package's metadata that count here. A parser of the whole metadata takes twenty times as long.
_NAME, _VERSION = (
    re.compile(rf"^{key}:[ \t]*(.*?)[ \t\r]*$", re.MULTILINE | re.IGNORECASE) for key in ("Name", "Version")
)


@dataclass(frozen=True)
class Drift:
    """One package whose versions in the lock and in the environment differ; None means that it is not there."""

    package: str
    locked: str | None
    installed: str | None

    def __str__(self) -> str:
        if self.installed is None:
            return f"{self.package} {self.locked} is locked but not installed"
        if self.locked is None:
            return f"{self.package} {self.installed} is installed but in no lock"
        return f"{self.package} is {self.installed}, the lock says {self.locked}"


@dataclass(frozen=True)
class Environment:
    """What the code runs on. Versions are exact, memory is in bytes, ``image`` is ``none`` outside a container.

    from_base: the packages that are in no lock, but in the base that the image was built from. They are no drift.
    """

    python: str
    implementation: str
    platform: str
    machine: str
    cpu: str
    cores: int
    memory: int | None
    gpus: tuple[str, ...]
    hash_seed: str
    lock_digest: str
    image: str
    packages: dict[str, str]
    drift: tuple[Drift, ...]
    from_base: tuple[str, ...]
    lock: bytes

    def described(self) -> dict[str, Any]:
        """Return everything as plain data, but without the lock's text: `lock_digest` stands for that."""
        described = asdict(self)
        del described["lock"]
        return described


def environment(root: Path) -> Environment:
    """Describe the running interpreter, and compare its packages with the locks in *root*.

    Raises Refused when requirements.txt is missing or has a line that does not pin one package to one version, and when
    the metadata of an installed package cannot be read.
    """
    lock = root / LOCK
    try:
        text = lock.read_bytes()
    except OSError as error:
        refuse("lock_digest", f"{LOCK} cannot be read ({error.strerror})", "run: nox -s lock")
    installed, locked = _installed(), pins(LOCK, text)
    from_base = _from_base(root, locked, installed)
    return Environment(
        python=platform.python_version(),
        implementation=platform.python_implementation(),
        platform=platform.platform(),
        machine=platform.machine(),
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        memory=_memory(),
        gpus=_gpus(),
        hash_seed=_HASH_SEED,
        lock_digest=digest(text),
        image=image_name(root),
        packages={name: installed[name].version for name in sorted(installed)},
        drift=_drift(root, locked, {name: installed[name] for name in installed.keys() - set(from_base)}),
        from_base=from_base,
        lock=text,
    )


class _Installed(NamedTuple):
    version: str
    dist: metadata.Distribution


def is_leftover(dist: metadata.Distribution) -> bool:
    """Whether *dist* is what an installer left of a package that it removed: ``~andas-1.0.dist-info``.

    pip and uv take the name of the folder for the sign too.
    """
    folder = _folder(dist)
    return folder is not None and not folder.name[:1].isalnum()


def _installed() -> dict[str, _Installed]:
    """Return the installed packages by canonical name; of two with one name the first on the path, as imports do.

    Raises Refused for every package whose name and version cannot be read.
    """
    found, broken = {}, []
    for dist in reversed(list(metadata.distributions())):
        if is_leftover(dist):
            continue
        try:
            text = _text(dist, "METADATA") or _text(dist, "PKG-INFO") or ""
        except UnicodeDecodeError:
            broken.append(_broken(dist, "its metadata is not UTF-8"))
            continue
        end = _END_OF_FIELDS.search(text)
        name, version = (key.search(text, 0, end.start() if end else len(text)) for key in (_NAME, _VERSION))
        if name and name[1] and version and version[1]:
            found[canonicalize_name(name[1])] = _Installed(version[1], dist)
        elif name and name[1]:
            broken.append(_broken(dist, "its metadata has no version"))
    if broken:
        raise Refused(broken)
    return found


def _text(dist: metadata.Distribution, file: str) -> str | None:
    """Return the text of a *file* of *dist*, read as `dist.read_text` reads it, but in a quarter of its time."""
    if not isinstance(folder := _folder(dist), Path):  # in an archive
        return dist.read_text(file)
    try:
        with open(os.path.join(folder, file), "rb") as stream:
            return stream.read().decode("utf-8")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
        return None


def _folder(dist: metadata.Distribution) -> Path | None:
    # pip looks at this attribute too: importlib.metadata has no public name for the folder.
    return getattr(dist, "_path", None)


def _broken(dist: metadata.Distribution, problem: str) -> Violation:
    place = one_line(str(_folder(dist)), 300)
    return Violation("environment", f"{place}: {problem}", "delete this folder, or install its package again")


def _drift(root: Path, locked: dict[str, str], installed: dict[str, _Installed]) -> tuple[Drift, ...]:
    found = []
    for name, version in locked.items():
        package = installed.get(name)
        if package is None:
            found.append(Drift(name, version, None))
        elif not _same_version(package.version, version):
            found.append(Drift(name, version, package.version))
        elif (address := _address(package.dist)) is not None:
            # The same version number, but other code: from a folder, an archive or a git checkout, not from the index.
            found.append(Drift(name, version, f"{version} from {address}"))
    tools = {name for file in _TOOL_LOCKS if (root / file).exists() for name in pins(file, (root / file).read_bytes())}
    own = own_packages(root).keys()
    for name in sorted(installed.keys() - locked.keys() - tools - _INSTALLERS):
        version, dist = installed[name]
        place = installed_in_place(dist)
        if name not in own and place != root:
            found.append(Drift(name, None, version))
        elif place is None and any(file.suffix == ".py" for file in dist.files or ()):
            found.append(Drift(name, None, f"{version} (a copy, not the project's own files: nox -s dev)"))
    return tuple(found)


def _from_base(root: Path, locked: dict[str, str], installed: dict[str, _Installed]) -> tuple[str, ...]:
    """Return which *installed* packages that are in no lock came with the base of this image; none outside an image."""
    if not inside_image(root) or not (listing := root / BASE_PACKAGES).is_file():
        return ()
    brought = {canonicalize_name(each["name"]): each["version"] for each in json.loads(listing.read_bytes())}
    names = installed.keys() & brought.keys() - locked.keys() - _INSTALLERS - own_packages(root).keys()
    return tuple(sorted(name for name in names if _same_version(installed[name].version, brought[name])))


def _same_version(a: str, b: str) -> bool:
    """Whether two texts mean one version: ``3.01.1`` is 3.1.1, while ``3.1.1+cpu`` is another build."""
    try:
        return a == b or Version(a) == Version(b)
    except InvalidVersion:
        return False


def _address(dist: metadata.Distribution) -> str | None:
    """Return from where *dist* was installed, without credentials; None if it came from an index.

    Raises Refused when the file that says so cannot be read.
    """
    try:
        if (source := _text(dist, "direct_url.json")) is None:
            return None
        return without_credentials(json.loads(source)["url"])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Refused([_broken(dist, "its direct_url.json does not say from where it was installed")]) from None


@cache
def _cpu() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


@cache  # no process outlives a change of the driver that it could see
def _gpus() -> tuple[str, ...]:
    """Return each NVIDIA GPU and its driver as nvidia-smi reports them; nothing where that is missing or fails."""
    if (program := shutil.which("nvidia-smi")) is None:
        return ()
    query = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(answer.stdout.split("\n")[:-1]) if answer.returncode == 0 else ()
