"""A URL: an address that may be shown and recorded."""

import re

_SSH = ("ssh", "git+ssh", "ssh+git", "sftp")


def without_credentials(url: str) -> str:
    """Return *url* without user, password, query and fragment, so that no token reaches a tag or a message.

    ``ssh://git@host/x`` and ``git@host:x`` keep their user, which is part of the address there and no secret.
    A path of a local repository comes back as it is.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        # user:password@host without a scheme; git@host:path and C:\folder are addresses
        return re.sub(r"^[^/\\@:]*:[^/\\@]+@(?=[^@]+$)", "", scheme)
    kind = scheme.lower().rpartition("::")[2]  # git's helpers: persistent-https::https://…
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" not in authority and re.search(r":(?!\d*$)[^\]]*$", authority) and "@" in rest:
        # a password with an unescaped / ? or # in it: what looks like host:port is user:first-half
        authority = rest.rpartition("@")[0] + "@" + re.split(r"[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    user, _, host = authority.rpartition("@")
    path = re.split(r"[?#]", rest[len(authority) :], maxsplit=1)[0]
    name = user.partition(":")[0]
    return f"{scheme}://{name}@{host}{path}" if kind in _SSH and name else f"{scheme}://{host}{path}"
