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
_NO_PASSWORD = rb"(?!(?i:pass(?:word|wd)?|pw|secret|token|redacted|tiger|prefix|[x*.]+|(?P=user))@)"
# What is assigned to a name such as `db_password` or "api_key": in quotes, without spaces, with a digit and a letter.
# Words that stand for a value are none.
_ASSIGNED = rb"[\"']?[ \t]{0,4}[:=][ \t]{0,4}[rbuf]{0,2}[\"']"
_PLACEHOLDERS = rb"(?i:example|change|dummy|fake|insert|placeholder|redacted|replace|sample|test|your|xxx|passw|secret)"
_VALUE = (
    rb"(?![^\"'\s]{0,64}" + _PLACEHOLDERS + rb")(?=[^\"'\s]{0,64}[0-9])(?=[^\"'\s]{0,64}[A-Za-z])"
    rb"[^\"'\s<>{}$()\[\]\\%,;|]"
)
# Each pattern starts with fixed characters and repeats a bounded number of times: the search stays linear.
_TEXTS = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (
            "a private key",
            rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[\s\\nr\"'+,]{1,40}"
            rb"(?:[A-Z][A-Za-z-]{3,20}: |[0-9A-Za-z+/]{16})[0-9A-Za-z+/=\s\\]{0,8000}",
        ),
        ("a private key", rb"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----[\r\n]{1,2}[0-9A-Za-z+/=\s]{16,8000}"),
        ("a private key", rb"Private-Lines: \d{1,3}[\r\n]{1,2}[0-9A-Za-z+/=\s]{16,8000}"),
        ("a private key", rb"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
        ("an AWS access key", rb"A(?:KIA|SIA|BIA|CCA)[0-9A-Z]{16}(?![0-9A-Za-z])"),
        ("an AWS secret key", rb"(?:aws_secret_access|AWS_SECRET_ACCESS)_(?:key|KEY)[\s\"'=:]{1,9}[0-9A-Za-z/+]{40}"),
        ("an Azure storage key", rb"AccountKey=[0-9A-Za-z+/]{60,90}={0,2}"),
        ("an Azure signature", rb"sig=[0-9A-Za-z%]{40,100}"),
        ("an Azure client secret", rb"8Q~[0-9A-Za-z_~.-]{31,34}"),
        ("a GitHub token", rb"gh[pousr]_[0-9A-Za-z]{36}"),
        ("a GitHub token", rb"github_pat_[0-9A-Za-z_]{22}"),
        ("a GitLab token", rb"gl(?:pat|dt|rt|cbt|ptt|imt|oas|soat|ft|agent)-[0-9A-Za-z_-]{20}"),
        ("a GitLab token", rb"GR1348941[0-9A-Za-z_-]{20}"),
        ("an Artifactory key", rb"AKCp[0-9A-Za-z]{64}"),
        ("a Bitbucket token", rb"ATBB[0-9A-Za-z]{32}"),
        ("an Atlassian token", rb"ATATT3[0-9A-Za-z_=-]{60}"),
        ("a Slack token", rb"xox[abeposr]-[0-9A-Za-z-]{10}"),
        ("a Slack token", rb"xapp-\d-[0-9A-Z]{8,16}-\d{8,16}-[0-9a-f]{32}"),
        ("a Slack webhook", rb"hooks\.slack\.com/services/T[0-9A-Z]{8,12}/B[0-9A-Z]{8,12}/[0-9A-Za-z]{20}"),
        ("a Discord webhook", rb"discord(?:app)?\.com/api/webhooks/\d{17,20}/[0-9A-Za-z_-]{60}"),
        (
            "a Discord token",
            rb"(?<![0-9A-Za-z_.-])[MNO](?=[A-Za-z_-]{0,25}[0-9])[0-9A-Za-z_-]{23,25}\.[0-9A-Za-z_-]{6}\."
            rb"(?=[A-Za-z_-]{0,26}[0-9])[0-9A-Za-z_-]{27}",
        ),
        ("a Telegram token", rb":AA[0-9A-Za-z_-]{33}(?![0-9A-Za-z_-])"),
        ("a Google API key", rb"AIza[0-9A-Za-z_-]{35}"),
        ("a Google client secret", rb"GOCSPX-[0-9A-Za-z_-]{28}"),
        ("a Google token", rb"ya29\.[0-9A-Za-z_-]{40}"),
        ("a Databricks token", rb"dapi[0-9a-f]{32}"),
        ("a Hugging Face token", rb"hf_[0-9A-Za-z]{34}"),
        ("a Replicate token", rb"r8_[0-9A-Za-z]{37}"),
        ("an API key", rb"sk-(?:proj|ant|svcacct|admin|or-v1)-[0-9A-Za-z_-]{20}"),
        ("an API key", rb"sk-[0-9A-Za-z]{48}(?![0-9A-Za-z])"),
        ("an API key", rb"gsk_[0-9A-Za-z_-]{40}"),
        ("an API key", rb"xai-[0-9A-Za-z_-]{40}"),
        ("an API key", rb"pplx-[0-9A-Za-z_-]{40}"),
        ("an API key", rb"nvapi-[0-9A-Za-z_-]{40}"),
        ("a Stripe key", rb"sk_(?:live|test)_[0-9A-Za-z]{16}"),
        ("a Stripe key", rb"rk_(?:live|test)_[0-9A-Za-z]{16}"),
        ("a Stripe webhook secret", rb"whsec_[0-9A-Za-z+/]{32}"),
        ("a Square token", rb"sq0(?:csp|atp)-[0-9A-Za-z_-]{22}"),
        ("a Shopify token", rb"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
        ("a SendGrid key", rb"SG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}"),
        ("a Twilio key", rb"SK[0-9a-f]{32}(?![0-9A-Za-z])"),
        ("a Mailgun key", rb"key-[0-9a-f]{32}(?![0-9A-Za-z])"),
        ("a Mailchimp key", rb"(?<![0-9A-Za-z])[0-9a-f]{32}-us\d{1,2}(?![0-9A-Za-z])"),
        ("an npm token", rb"npm_[0-9A-Za-z]{36}"),
        ("an npm token", rb":_authToken=[0-9A-Za-z-]{30}"),
        ("a PyPI token", rb"pypi-AgE(?:IcHlwaS5vcmc|NdGVzdC5weXBpLm9yZw)"),
        ("a RubyGems key", rb"rubygems_[0-9a-f]{48}"),
        ("a Docker Hub token", rb"dckr_pat_[0-9A-Za-z_-]{27}"),
        ("a DigitalOcean token", rb"do[opr]_v1_[0-9a-f]{64}"),
        ("a HashiCorp token", rb"hv[sb]\.[0-9A-Za-z_-]{24}"),
        ("a HashiCorp token", rb"\.atlasv1\.[0-9A-Za-z_=-]{60}"),
        ("a Grafana token", rb"glsa_[0-9A-Za-z]{32}_[0-9a-f]{8}"),
        ("a Grafana token", rb"glc_eyJ[0-9A-Za-z+/=]{32}"),
        ("a New Relic key", rb"NRAK-[0-9A-Z]{27}"),
        ("a Sentry token", rb"sntry[su]_[0-9A-Za-z+/=_-]{40}"),
        ("a Pulumi token", rb"pul-[0-9a-f]{40}"),
        ("a Postman key", rb"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
        ("a Linear key", rb"lin_api_[0-9A-Za-z]{40}"),
        ("a Notion token", rb"ntn_[0-9A-Za-z]{40}"),
        ("a Supabase token", rb"sbp_[0-9a-f]{40}"),
        ("a PlanetScale token", rb"pscale_(?:tkn|pw|oauth)_[0-9A-Za-z_.-]{32}"),
        (
            "a signed token",
            rb"eyJ[0-9A-Za-z_-]{10,2000}\.eyJ[0-9A-Za-z_-]{10,4000}\.[0-9A-Za-z_-]{20}[0-9A-Za-z_-]{0,600}",
        ),
        (
            "a login",
            rb"uthorization[\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?(?:Bearer|Basic|token)[ \t]{1,4}"
            rb"[0-9A-Za-z+/=_.-]{16,1000}",
        ),
        ("a password", rb"(?i:passw(?:or)?d|passphrase|pwd)" + _ASSIGNED + _VALUE + rb"{6,200}(?=[\"'])"),
        (
            "a secret",
            rb"(?:[Kk](?:ey|EY)|[Ss](?:ecret|ECRET)|[Tt](?:oken|OKEN))" + _ASSIGNED + _VALUE + rb"{16,200}(?=[\"'])",
        ),
        (
            "a URL with a password",
            rb"://(?P<user>[^\s/@:,\"'<>{}$]{0,64}):" + _NO_PASSWORD + rb"[^\s/@\"'<>{}$]{1,128}@[^\s@]",
        ),
        (
            "a URL with a token",
            rb"[?&](?i:(?:access_|auth_|api_|private_|job_)?token|api_?key|password|secret|x-amz-signature)="
            rb"(?!(?i:your|xxx|secret|token|\.\.\.))[^\s&\"'<>{}$#]{6,500}",
        ),
    )
)

# What comes before `key`, `secret` or `token` in the name of a secret: `api_key`, not `primary_key`.
_QUALIFIED = re.compile(
    rb"(?i:api|access|auth|private|secret|account|encryption|signing|client|app|consumer|bearer|refresh|bot)[_-]?\Z"
)

_REST = re.compile(rb"[0-9A-Za-z+=_.~-]{0,4000}")

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
            found.update((_whole(match), kind) for match in pattern.finditer(text) if _is_meant(kind, match))
    return found


def _whole(match: re.Match[bytes]) -> bytes:
    """Return the text of *match* with the rest of its word: a pattern has only the shortest form of a secret."""
    end = match.end() if match[0].startswith(b"://") else _REST.match(match.string, match.end()).end()
    return match.string[match.start() : end]


def _is_meant(kind: str, match: re.Match[bytes]) -> bool:
    """Whether *match* is no other thing that looks the same."""
    before = match.string[max(0, match.start() - 16) : match.start()]
    if kind == "a secret":
        return _QUALIFIED.search(before) is not None
    return kind != "a Telegram token" or re.search(rb"\d{8,10}\Z", before) is not None


def recordable(text: object) -> str:
    """Return *text* without secrets and without characters that UTF-8 cannot write, cut after 500 characters."""
    clean = redacted(_URL.sub(lambda url: without_credentials(url[0]), str(text)))
    return clean[:500].encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def redacted(text: str) -> str:
    """Return *text* with the kind of each secret in its place."""
    for secret, kind in secrets_in(text.encode("utf-8", "replace")).items():
        text = text.replace(secret.decode("utf-8", "replace"), f"({kind})")
    return text


def without_credentials(url: str) -> str:
    """Return *url* without user, password, query, fragment and any token in its path.

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
    return redacted(f"{scheme}://{name}@{host}{path}" if kind in _SSH and name else f"{scheme}://{host}{path}")
