"""Secrets: how they are found and removed, before a patch, a tag, a message or a log leaves this machine."""

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

# Words like these stand for a password, and so do variables such as {password} or $PASSWORD.
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

_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)
_SSH = ("ssh", "git+ssh", "ssh+git", "sftp")


def is_secret_name(name: str) -> bool:
    """Whether files called *name* (without folder) usually hold secrets: ``.env``, ``id_rsa``, ``server.pem`` …"""
    name = name.lower()
    if any(fnmatchcase(name, pattern) for pattern in _HARMLESS_NAMES):
        return False
    return any(fnmatchcase(name, pattern) for pattern in _NAMES)


def secrets_in(content: bytes) -> dict[bytes, str]:
    """Return {text: kind in words} of what looks like a secret in *content*. Never show the texts to anybody."""
    found: dict[bytes, str] = {}
    # Without its zero bytes, UTF-16 text reads like ASCII. PowerShell's `>` writes UTF-16.
    for text in {content, content.replace(b"\0", b"")}:
        for kind, pattern in _TEXTS:
            found.update((match[0], kind) for match in pattern.finditer(text))
    return found


def recordable(text: object) -> str:
    """Return *text* without secrets and without characters that UTF-8 cannot write, cut after 500 characters."""
    clean = _URL.sub(lambda url: without_credentials(url[0]), str(text))
    for secret, kind in secrets_in(clean.encode("utf-8", "replace")).items():
        clean = clean.replace(secret.decode("utf-8", "replace"), f"({kind})")
    return clean[:500].encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def without_credentials(url: str) -> str:
    """Return *url* without user, password, query and fragment, each of which may hold a token.

    ``ssh://git@host/x`` and ``git@host:x`` keep their user, which is part of the address and no secret. The path of a
    local repository stays as it is.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator:
        # user:password@host is an address without a scheme. git@host:path and C:\folder have no password.
        return re.sub(r"^[^/\\@:]*:[^/\\@]+@(?=[^@]+$)", "", scheme)
    kind = scheme.lower().rpartition("::")[2]  # git's helpers: persistent-https::https://…
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" not in authority and re.search(r":(?!\d*$)[^\]]*$", authority) and "@" in rest:
        # The password has an unescaped / ? or # in it. What looks like host:port is the user and half the password.
        authority = rest.rpartition("@")[0] + "@" + re.split(r"[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    user, _, host = authority.rpartition("@")
    path = re.split(r"[?#]", rest[len(authority) :], maxsplit=1)[0]
    name = user.partition(":")[0]
    return f"{scheme}://{name}@{host}{path}" if kind in _SSH and name else f"{scheme}://{host}{path}"
