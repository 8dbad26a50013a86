"""Promote models with MLflow alone, as somebody without `repro` would; the arguments are the ids of three runs.

The first run was reproduced, the second was not, and the third has other metrics and claims to reproduce the second.
Prints JSON: {name of the attempt: the error message, null where MLflow accepted it}.
"""

import json
import sys
from collections.abc import Callable

import mlflow

client = mlflow.MlflowClient()
reproduced, plain, other = (client.get_run(run_id) for run_id in sys.argv[1:4])
NOBODY = "0" * 32
messages = {}


def attempt(name: str, step: Callable[[], object]) -> None:
    try:
        step()
        messages[name] = None
    except Exception as error:
        messages[name] = str(error)


def version(run, model_of=None) -> str:
    """Register the model of *model_of* as one of *run*; return the version."""
    model = (model_of or run).outputs.model_outputs[0].model_id
    return client.create_model_version("by hand", f"models:/{model}", run_id=run.info.run_id).version


def point(name: str, alias: str, number: str) -> None:
    attempt(name, lambda: client.set_registered_model_alias("by hand", alias, number))


def claim(tag: str, value: str) -> None:
    client.set_tag(plain.info.run_id, tag, value)


client.create_registered_model("by hand")
plain_version = version(plain)
point("not reproduced", "champion", plain_version)
point("in another case", "Champion", plain_version)
point("in a wide letter", "\N{FULLWIDTH LATIN SMALL LETTER C}hampion", plain_version)
point("another alias", "candidate", plain_version)
point("somebody else's model", "champion", version(reproduced, model_of=plain))

# The tags of a verdict can be written by anybody.
claim("reproduced_verdict", "identical")
claim("reproduced_by", plain.info.run_id)
point("by itself", "champion", plain_version)
claim("reproduced_by", reproduced.data.tags["reproduced_by"])
point("by another's", "champion", plain_version)
claim("reproduced_by", "f" * 32)
point("by one that does not exist", "champion", plain_version)
claim("reproduced_by", other.info.run_id)
point("by one with other metrics", "champion", plain_version)
claim("reproduced_verdict", "identical (forced)")
point("by force", "champion", plain_version)
for tag in ("reproduced_verdict", "reproduced_by"):
    client.delete_tag(plain.info.run_id, tag)

champion = version(reproduced)
point("reproduced", "champion", champion)
model = plain.outputs.model_outputs[0].model_id
stray = client.create_model_version("by hand", f"models:/{model}", run_id=NOBODY).version
point("of a run that does not exist", "champion", stray)
attempt("delete the version", lambda: client.delete_model_version("by hand", champion))
attempt("delete the model", lambda: client.delete_registered_model("by hand"))
attempt("delete another version", lambda: client.delete_model_version("by hand", stray))
print(json.dumps(messages))
