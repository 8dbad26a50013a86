"""The completion of a run: what shows that it was ended by the code that began it, and not before that was through.

The run is created with the digest of a word that only its process knows. The process says the word when all is done,
just before it ends the run. A run that carries a digest and not its word was ended by somebody else: a colleague, a
script, or `mlflow.end_run()` in its own block.
"""

import secrets
from collections.abc import Mapping

from .digest import digest

DIGEST_TAG, WORD_TAG = "completion_digest", "completion_word"


def new() -> tuple[str, str]:
    """Return a word that nobody can guess, and its digest."""
    word = secrets.token_hex(16)
    return word, digest(word.encode())


def against(tags: Mapping[str, str]) -> str | None:
    """Return why a run with *tags* is not complete, as a clause; a run without the digest ends whenever it likes."""
    expected = tags.get(DIGEST_TAG)
    if expected is None or digest(tags.get(WORD_TAG, "").encode()) == expected:
        return None
    return "it was ended from outside or inside its block, before `tracked_run` was through"
