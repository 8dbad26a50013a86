"""Prints the answers of the server's S3 store to the right secret, a wrong one, and a request without a signature."""

import os

import boto3
from botocore import UNSIGNED
from botocore.config import Config

right = os.environ["AWS_SECRET_ACCESS_KEY"]
for config, secret in ((Config(), right), (Config(), "wrong"), (Config(signature_version=UNSIGNED), right)):
    store = boto3.client(
        "s3",
        endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"],
        config=config,
        aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=secret,
    )
    try:
        print(store.list_buckets()["ResponseMetadata"]["HTTPStatusCode"])
    except store.exceptions.ClientError as error:
        print(error.response["Error"]["Code"])
