"""The tags of a run: every name, written once, with what the tag means."""

import re

# --- Provenance: where a run comes from. Frozen from the start of the run.
PROVENANCE_TAGS = frozenset(
    {
        "git_commit",
        "git_branch",
        "git_remote",
        "git_dirty",
        "data_version",
        "author",
        "config_digest",
        "lock_digest",
        "image",
        "manifest_digest",
    }
)
# The form of `git_commit`, and of every full commit id: SHA-1 or SHA-256.
COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# MLflow's own tags, and our tag with the same information.
MLFLOW_TAGS = {
    "mlflow.source.git.branch": "git_branch",
    "mlflow.source.git.commit": "git_commit",
    "mlflow.user": "author",
}
# Of an experiment: MLflow's page shows columns for trained models then, and not those for language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
# Equal on a run and its reproduction. The config may differ: it may name another path of the same data.
MADE_FROM = ("git_commit", "data_version", "lock_digest")
# Which code ran, and on which data, packages and config.
ORIGIN_TAGS = ("git_commit", "git_dirty", "data_version", "lock_digest", "config_digest")
# A run that began with the team's defaults may set these once more, in the request that logs its first params.
RESTATED = frozenset({"config_digest", "data_version", "manifest_digest"})

# --- Life of a run.
PARENT_TAG = "mlflow.parentRunId"
FAILURE_TAG = "failure"  # why a run ended early
VIOLATIONS_TAG = "policy_violations"  # what breaks the policy, where that only records (`enforce: record`)
SUPERSEDED_TAG = "superseded_by"  # on a trial of a sweep that finished twice: the run that counts

# --- Reproduction. On the reproduction: the original run, the verdict, and the differences.
REPRODUCES, REPRODUCES_VERDICT, REPRODUCES_NOTE = "reproduces", "reproduces_verdict", "reproduces_note"
# On the original run: its last reproduction, with the same.
REPRODUCED_BY, REPRODUCED_VERDICT, REPRODUCED_NOTE = "reproduced_by", "reproduced_verdict", "reproduced_note"
OWN_VERDICT_TAGS = frozenset({REPRODUCES_VERDICT, REPRODUCES_NOTE})
VERDICT_TAGS = frozenset({REPRODUCED_BY, REPRODUCED_VERDICT, REPRODUCED_NOTE})

# --- For the machinery alone. Commands that show tags to people leave these out.
INTERNAL = "reproducibility."
PROCESS_TAG = f"{INTERNAL}process"  # the process that records the run
TOKEN_DIGEST_TAG = f"{INTERNAL}token_digest"  # digest of a one-time token: only the process that began the run knows it
TOKEN_TAG = f"{INTERNAL}token"  # the token itself, set just before the run ends
# The ids that a client chose for a new run and a new model. The gate takes them, so that a client that lost the answer
# can ask again, and so that a run has its id before a server knows the run.
RUN_ID_TAG, MODEL_ID_TAG = f"{INTERNAL}run_id", f"{INTERNAL}model_id"
OFFLINE_TAG = f"{INTERNAL}offline"  # the run was begun without its server, which got the run later
ATTEMPT_TAG = f"{INTERNAL}attempt"  # names one attempt to reproduce a run
# The sweep that a run belongs to; and, on each of its trials, the number of the trial. A trial is inside the run of the
# sweep, but is no part of that run: a trial has a config and evidence of its own.
SWEEP_TAG, TRIAL_TAG = f"{INTERNAL}sweep", f"{INTERNAL}trial"
