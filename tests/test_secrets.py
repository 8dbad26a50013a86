"""What looks like a secret, in forty forms and more; and that real code does not."""

from pathlib import Path

import pytest
from reproducibility.secrets import recordable, redacted, secrets_in, without_credentials

HEX, LETTERS, MIXED = "0123456789abcdef", "abcdefghijklmnopqrstuvwxyz", "a1B2c3D4e5F6g7H8"
# In two halves, so that no scanner takes this file for a leak.
SECRETS = {
    "private key": ("-----BEGIN RSA PRIV", "ATE KEY-----\n" + "MIIEpAIBAAKCAQEA" * 4 + "\n-----END"),
    "private key in JSON": ("-----BEGIN PRIV", "ATE KEY-----\\n" + "MIIEpAIBAAKCAQEA" * 4 + "\\n-----END"),
    "age": ("AGE-SECRET-", "KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2),
    "SSH2": ("---- BEGIN SSH2 ENCRYPTED PRIV", "ATE KEY ----\n" + "MIIEpAIBAAKCAQEA" * 4),
    "PuTTY": ("Private", "-Lines: 8\n" + "AAAAgQCb/1xYz9+" * 4),
    "AWS, for a service": ("AB", "IAQ3EGRT7ABCDEFGHI"),
    "AWS": ("AK", "IAQ3EGRT7ABCDEFGHI"),
    "AWS secret": ("aws_secret_", "access_key = wJalrXUtnFEMI/K7MDENGbPxRfiCYzzzzzzzzzzz"),
    "Azure storage": ("Account", "Key=" + "Ab1+" * 21 + "Ab=="),
    "Azure signature": ("?si", "g=" + "Ab1%2F" * 8),
    "Azure client": ("abc8Q", "~" + MIXED * 2),
    "GitHub": ("gh", "p_" + "a1B2" * 9),
    "GitHub, fine-grained": ("github_", "pat_" + "11AAAAAAA0" * 4),
    "GitLab": ("glp", "at-" + "a1B2c3D4e5" * 2),
    "GitLab runner": ("GR1", "348941" + "a1B2c3D4e5" * 2),
    "Artifactory": ("AK", "Cp" + MIXED * 4),
    "Bitbucket": ("AT", "BB" + MIXED * 2),
    "Atlassian": ("ATA", "TT3" + MIXED * 5),
    "Slack": ("xo", "xb-123456789012-abcdefABCDEF"),
    "Slack app": ("xap", "p-1-A1B2C3D4E5-123456789-" + HEX * 2),
    "Slack webhook": ("https://hooks.slack", ".com/services/T0A1B2C3D/B0A1B2C3D/" + MIXED * 2),
    "Discord webhook": ("https://discord", ".com/api/webhooks/123456789012345678/" + MIXED * 5),
    "Discord": ("MTk4NjIyNDgzNDcx", "OTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs"),
    "Telegram": ("123456789", ":AA" + MIXED * 2 + "x"),
    "Google": ("AI", "za" + "SyA1234567890abcdefghijklmnopqrstuv"),
    "Google client": ("GOC", "SPX-" + MIXED * 2),
    "Google token": ("ya", "29." + MIXED * 4),
    "Databricks": ("da", "pi" + HEX * 2),
    "Hugging Face": ("h", "f_" + "abcDEF1234567890" * 2 + "zz"),
    "Replicate": ("r", "8_" + MIXED * 3),
    "OpenAI": ("sk-", "proj-" + MIXED * 3),
    "OpenAI, older": ("s", "k-" + MIXED * 3),
    "Anthropic": ("sk-", "ant-" + MIXED * 3),
    "Groq": ("gs", "k_" + MIXED * 3),
    "xAI": ("xa", "i-" + MIXED * 4),
    "Perplexity": ("ppl", "x-" + MIXED * 3),
    "NVIDIA": ("nva", "pi-" + MIXED * 4),
    "Stripe": ("sk_", "live_" + MIXED),
    "Stripe, restricted": ("rk_", "test_" + MIXED),
    "Stripe webhook": ("whs", "ec_" + MIXED * 2),
    "Square": ("sq0", "csp-" + MIXED * 2),
    "Shopify": ("shp", "at_" + HEX * 2),
    "SendGrid": ("S", "G." + MIXED + "a1B2c3." + MIXED * 2 + "a1B2c3D4e5F"),
    "Twilio": ("S", "K" + HEX * 2),
    "Mailgun": ("ke", "y-" + HEX * 2),
    "Mailchimp": (HEX, HEX + "-us12"),
    "npm, in a file": ("//npm.example.com/:_auth", "Token=12345678-1234-1234-1234-123456789abc"),
    "PyPI, for tests": ("pypi-AgEN", "dGVzdC5weXBpLm9yZw" + MIXED),
    "npm": ("np", "m_" + "a1B2" * 9),
    "PyPI": ("pypi-AgEI", "cHlwaS5vcmc" + MIXED),
    "RubyGems": ("ruby", "gems_" + HEX * 3),
    "Docker Hub": ("dckr", "_pat_" + MIXED * 2),
    "DigitalOcean": ("do", "p_v1_" + HEX * 4),
    "Vault": ("hv", "s." + MIXED * 2),
    "Terraform": ("abc.atl", "asv1." + MIXED * 4),
    "Grafana": ("gl", "sa_" + MIXED * 2 + "_01234567"),
    "New Relic": ("NR", "AK-" + "A1B2C3D4E" * 3),
    "Sentry": ("sn", "trys_" + MIXED * 3),
    "Pulumi": ("pu", "l-" + HEX * 2 + "01234567"),
    "Postman": ("PM", "AK-" + HEX + "01234567-" + HEX * 2 + "01"),
    "Linear": ("lin_", "api_" + MIXED * 3),
    "Notion": ("nt", "n_" + MIXED * 3),
    "Supabase": ("sb", "p_" + HEX * 2 + "01234567"),
    "PlanetScale": ("pscale", "_tkn_" + MIXED * 2),
    "JWT": ("ey", "J" + MIXED + ".eyJ" + MIXED + "." + MIXED * 2),
    "header": ("Authorization: Bea", "rer " + MIXED * 2),
    "password": ("db_pass", 'word = "correct1horse"'),
    "password in JSON": ('"pass', 'word": "correct1horse"'),
    "password in YAML": ("pw", "d: 'correct1horse'"),
    "API key": ("api_", f'key="{MIXED * 2}"'),
    "token": ('"accessTo', f"ken': '{MIXED * 2}'"),
    "client secret": ("CLIENT_SE", f"CRET='{MIXED * 2}'"),
    "token in a query": ("https://git.example.com/x.git?tok", "en=" + MIXED),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_found_and_redacted(kind: str) -> None:
    text = "".join(SECRETS[kind])
    for around in ("{}", "+ value = x {}\n", "error: cannot log in with {} at host"):
        written = around.format(text)
        assert secrets_in(written.encode()), written
        shown = redacted(written)
        # Nothing of it that is long enough to be of use is left.
        second = SECRETS[kind][1]
        assert not any(second[start : start + 12] in shown for start in range(8, len(second) - 11)), shown


@pytest.mark.parametrize(
    "url", ["postgresql://trainer:hunter2@db.example.com/x", "https://:hunter2@mlflow.example.com"]
)
def test_a_password_in_an_address_is_found_and_redacted(url: str) -> None:
    assert secrets_in(url.encode())
    assert "hunter2" not in redacted(f"at {url}")


REMOTES = {
    ("https://git.example.com/team/x.git?tok", "en=abc123def456"): "https://git.example.com/team/x.git",
    ("https://git.example.com/gh", "p_" + "a1B2" * 9 + "/x.git"): "https://git.example.com/(a GitHub token)/x.git",
    ("https://oauth2:", "glpat-x@git.example.com/x.git"): "https://git.example.com/x.git",
}


@pytest.mark.parametrize("halves", REMOTES)
def test_an_address_has_no_token_in_it(halves: tuple[str, str]) -> None:
    assert without_credentials("".join(halves)) == REMOTES[halves]
    assert "a1B2" not in recordable("".join(halves)) and "abc123" not in recordable("".join(halves))


HARMLESS = [
    'tokenizer = "bert-base-uncased-v2-2024"',
    'pad_token = "<pad>"; mask_token="[MASK]"; eos_token = "</s>"',
    'password = os.environ["DB_PASSWORD"]',
    'password = "{{ secrets.password1 }}"',
    'password="your-password-1"',
    'primary_key = "customer_identifier_2024"',
    'monkey = "capuchin-number-1234567"',
    "sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'",
    "postgresql://scott:tiger@localhost and postgresql://postgres:postgres@localhost",
    'header = "-----BEGIN PRIVATE KEY-----"',
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_a_secret_passes(text: str) -> None:
    assert secrets_in(text.encode()) == {}


def test_real_code_has_no_secrets() -> None:
    packages = Path(pytest.__file__).parent.parent
    files = sorted(path for path in packages.rglob("*.py") if "pydantic" not in path.parts)
    assert len(files) > 500
    alarms = {str(path): list(secrets_in(path.read_bytes()).values()) for path in files}
    assert {path: kinds for path, kinds in alarms.items() if kinds} == {}
