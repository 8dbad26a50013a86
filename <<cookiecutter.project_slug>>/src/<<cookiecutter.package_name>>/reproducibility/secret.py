"""A secret: a file name or a piece of text that must not leave the machine inside a run's patch."""

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
