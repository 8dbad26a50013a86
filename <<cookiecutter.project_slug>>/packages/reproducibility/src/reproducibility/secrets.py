"""Secrets: what must not leave this machine in a patch, a tag, a message or a log, and how it is taken out."""

import re
from fnmatch import fnmatchcase

_NAMES = (
    *(".env", ".env.*", ".env-*", ".env_*", ".envrc", "*.env"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.ppk", "*.jks", "*.keystore", "*.kdbx"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*"),
    *(".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".htpasswd", ".git-credentials", ".databrickscfg"),
    *("credentials", "credentials*.json", "client_secret*.json", "service[-_]account*.json"),
)
_HARMLESS_NAMES = ("*example*", "*sample*", "*template*", "*.dist", "*.pub")

# Words like these, and variables such as {password} or $PASSWORD, are places for a password.
_NO_PASSWORD = rb"(?!(?i:pass(?:word|wd)?|pw|secret|token|[x*.]+)@)"
# Each pattern starts with fixed characters and repeats a bounded number of times: the search stays linear.
_TEXTS = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("a private key", rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY"),
        ("an AWS access key", rb"A(?:KIA|SIA)[0-9A-Z]{16}(?![0-9A-Za-z])"),
        ("an AWS secret key", rb"(?:aws_secret_access|AWS_SECRET_ACCESS)_(?:key|KEY)[\s\"'=:]{1,9}[0-9A-Za-z/+]{40}"),
        ("a GitHub token", rb"gh[pousr]_[0-9A-Za-z]{36}"),
        ("a GitHub token", rb"github_pat_[0-9A-Za-z_]{22}"),
        ("a GitLab token", rb"glpat-[0-9A-Za-z_-]{20}"),
        ("a Slack token", rb"xox[abposr]-[0-9A-Za-z-]{10}"),
        ("a Google API key", rb"AIza[0-9A-Za-z_-]{35}"),
        ("a Databricks token", rb"dapi[0-9a-f]{32}"),
        ("a Hugging Face token", rb"hf_[0-9A-Za-z]{34}"),
        ("an API key", rb"sk-(?:proj|ant|svcacct)-[0-9A-Za-z_-]{20}"),
        ("a PyPI token", rb"pypi-AgEIcHlwaS5vcmc"),
        ("a URL with a password", rb"://[^\s/@:\"'<>{}$]{0,64}:" + _NO_PASSWORD + rb"[^\s/@\"'<>{}$]{1,128}@[^\s@]"),
    )
)


def is_secret_name(name: str) -> bool:
    """Tell whether a file called *name* (no folder) holds secrets by custom: ``.env``, ``id_rsa``, ``*.pem`` …"""
    name = name.lower()
    if any(fnmatchcase(name, pattern) for pattern in _HARMLESS_NAMES):
        return False
    return any(fnmatchcase(name, pattern) for pattern in _NAMES)


def secrets_in(content: bytes) -> dict[bytes, str]:
    """Return each text in *content* that looks like a secret, with its kind in words. The texts are not for showing."""
    found: dict[bytes, str] = {}
    # without its zero bytes UTF-16 text, as PowerShell's `>` writes it, reads like ASCII
    for text in {content, content.replace(b"\0", b"")}:
        for kind, pattern in _TEXTS:
            found.update((match[0], kind) for match in pattern.finditer(text))
    return found


_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)


def recordable(text: object) -> str:
    """Return *text*, cut after 500 characters, without what looks like a secret and without what UTF-8 cannot write."""
    clean = _URL.sub(lambda url: without_credentials(url[0]), str(text))
    for secret, kind in secrets_in(clean.encode("utf-8", "replace")).items():
        clean = clean.replace(secret.decode("utf-8", "replace"), f"({kind})")
    return clean[:500].encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


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
