"""Adds each file that is named to the server's S3 store, and prints the names of all files there."""

import os
import sys

import mlflow  # noqa: F401 - MLflow loads the relay itself, which must not be half imported then
from reproducibility.gate.s3 import Relay

store = Relay(os.environ["MLFLOW_ARTIFACTS_DESTINATION"])
for name in sys.argv[1:]:
    store.client.put_object(Bucket=store.bucket, Key=name, Body=b"new")
print(*sorted(each["Key"] for each in store.client.list_objects_v2(Bucket=store.bucket).get("Contents", [])))
