"""Lists two files of the server's S3 store, writes one of them anew and a third one, and deletes what was listed.

Prints the names of those of the three that are left.
"""

import io
import json
import os

import mlflow  # noqa: F401 - MLflow loads the relay itself, which must not be half imported then
from reproducibility.container.archive import delete, list_files
from reproducibility.gate.s3 import Relay

store = Relay(os.environ["MLFLOW_ARTIFACTS_DESTINATION"])


def files() -> dict[str, str]:
    listed = io.BytesIO()
    list_files(store, listed)
    return {name: state for name, state in json.loads(listed.getvalue()).items() if name.startswith("1/")}


def write(name: str, content: bytes) -> None:
    store.client.put_object(Bucket=store.bucket, Key=name, Body=content)


write("1/old", b"old")
write("1/again", b"old")
before = json.dumps(files()).encode()
write("1/again", b"new")
write("1/later", b"new")
delete(store, io.BytesIO(before))
print(*sorted(files()))
