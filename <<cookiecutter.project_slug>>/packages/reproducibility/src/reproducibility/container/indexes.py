"""Package indexes that the environment names: the build of an image gets them as a secret, which no layer keeps."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from ..errors import refuse

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NAMED = re.compile(r"([A-Za-z0-9_.-]+)=(.+)", re.DOTALL)


@dataclass(frozen=True)
class Indexes:
    """The addresses of package indexes, with their logins. first: the one instead of PyPI, if any. others: the rest."""

    first: str | None
    others: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.first or self.others)

    @property
    def on_this_machine(self) -> bool:
        """Whether one of them can be reached from this machine alone."""
        return any(urlsplit(each).hostname in _LOOPBACK for each in (self.first, *self.others) if each)

    @property
    def pip_settings(self) -> str:
        """The text of a pip.conf that names them."""
        lines = ["[global]", *([f"index-url = {self.first}"] if self.first else [])]
        if self.others:
            lines += ["extra-index-url =", *(f"    {each}" for each in self.others)]
        return "".join(f"{line}\n" for line in lines)


def indexes(variables: Mapping[str, str]) -> Indexes:
    """Return what the *variables* of uv, and else of pip, name. Raises Refused for an address that pip cannot read.

    uv takes the login of a named index from UV_INDEX_NAME_USERNAME and UV_INDEX_NAME_PASSWORD.
    """
    first = next(
        (variables[name] for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL") if variables.get(name)), ""
    )
    others = " ".join(variables.get(name, "") for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"))
    return Indexes(
        _address(first, variables) if first else None,
        tuple(dict.fromkeys(_address(each, variables) for each in others.split())),
    )


def _address(written: str, variables: Mapping[str, str]) -> str:
    """Return the address in ``address`` or ``name=address``, with the login that belongs to the name."""
    named = _NAMED.fullmatch(written) if not re.match(r"\w+://", written) else None
    address = named[2] if named else written
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = None
    if parts is None or not parts.scheme or re.search(r"\s", address):
        refuse("package index", "the environment names one that is no address", "see UV_INDEX and PIP_INDEX_URL")
    if named is None or "@" in parts.netloc:
        return address
    variable = f"UV_INDEX_{re.sub(r'[^A-Za-z0-9]', '_', named[1]).upper()}"
    login = [quote(variables.get(f"{variable}_{part}", ""), safe="") for part in ("USERNAME", "PASSWORD")]
    if not any(login):
        return address
    return urlunsplit(parts._replace(netloc=f"{':'.join(login)}@{parts.netloc}"))
