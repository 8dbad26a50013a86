"""Stand-ins for the images that compose.yaml names, for machines that reach no registry.

They hold PostgreSQL's own server programs and SeaweedFS's own binary, copied from this machine. Names, variables,
users, folders and the programs of the health checks are those of the official images: compose.yaml is used unchanged.
"""

import re
import shutil
import subprocess
from pathlib import Path

from workbench import SCRIPTS

BASE = "docker.io/library/python:3.11-slim"
# Libraries that the base has: they must fit its own C library.
OF_THE_BASE = ("linux-vdso", "ld-linux", "libc.so", "libm.so", "libresolv.so", "libdl.so", "libpthread.so", "librt.so")

POSTGRES = r"""#!/bin/sh
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  printf '%s' "${POSTGRES_PASSWORD:?}" > /tmp/password
  initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8
  rm /tmp/password
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  pg_ctl --wait --options="-c listen_addresses=''" start
  createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
  pg_ctl --wait --mode=fast stop
fi
exec "$@" -c "listen_addresses=*"
"""
POSTGRES_IMAGE = f"""
FROM {BASE}
COPY postgresql /usr/lib/postgresql
COPY share /usr/share/postgresql
COPY libraries /usr/local/lib/postgresql
COPY entrypoint /usr/local/bin/
RUN useradd --uid 999 postgres
RUN install -d -o postgres -g postgres -m 1777 /var/lib/postgresql/data /var/run/postgresql
ENV PATH=PROGRAMS:$PATH LD_LIBRARY_PATH=/usr/local/lib/postgresql PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["entrypoint"]
CMD ["postgres"]
"""

SEAWEEDFS_IMAGE = f"""
FROM {BASE}
COPY weed wget /usr/bin/
VOLUME /data
"""


def build_postgres(engine: str, name: str, folder: Path) -> str | None:
    """Build the image of PostgreSQL under *name*, in *folder*; return what this machine lacks for it, or None."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not programs:
        return "PostgreSQL's server programs (Debian's package postgresql)"
    version = programs[-1].parents[1]
    shutil.copytree(version, folder / "postgresql" / version.name)
    shutil.copytree(Path("/usr/share/postgresql") / version.name, folder / "share" / version.name, symlinks=True)
    (folder / "libraries").mkdir()
    for program in (*(version / "bin").iterdir(), *(version / "lib").glob("*.so")):
        linked = subprocess.run(["ldd", program], capture_output=True, encoding="utf-8", check=False).stdout
        for library in map(Path, re.findall(r"=> (/\S+)", linked)):
            copy = folder / "libraries" / library.name
            if not library.name.startswith(OF_THE_BASE) and not copy.exists():
                shutil.copy(library, copy)
    write(folder / "entrypoint", POSTGRES)
    return build(engine, name, folder, POSTGRES_IMAGE.replace("PROGRAMS", f"{version}/bin"))


def build_seaweedfs(engine: str, name: str, folder: Path) -> str | None:
    """Build the image of SeaweedFS under *name*, in *folder*; return what this machine lacks for it, or None."""
    weed = shutil.which("weed")
    if not weed:
        return "SeaweedFS (a program called weed)"
    shutil.copy(Path(weed).resolve(), folder / "weed")
    write(folder / "wget", (SCRIPTS / "wget.py").read_text("utf-8"))
    return build(engine, name, folder, SEAWEEDFS_IMAGE)


def write(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8")
    path.chmod(0o755)


def build(engine: str, name: str, folder: Path, dockerfile: str) -> None:
    write(folder / "Dockerfile", dockerfile)
    subprocess.run([engine, "build", "--quiet", f"--tag={name}", folder], check=True, capture_output=True)
