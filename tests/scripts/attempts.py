"""What a script tried, and how each attempt ended: `with attempt("tag"): ...` notes the error, or None."""

from collections.abc import Iterator
from contextlib import contextmanager

errors: dict[str, str | None] = {}


@contextmanager
def attempt(name: str) -> Iterator[None]:
    try:
        yield
        errors[name] = None
    except Exception as error:
        errors[name] = str(error)
