"""Carries answers into the project: derives its names, refuses what would break it, quotes the rest for each language.

Cookiecutter loads this before it asks anything. Answers are refused here, while Cookiecutter names the project's
folder, and not in a pre-generation hook. A hook runs after the folder was made, it can be switched off, and
Cookiecutter prints a traceback above its message.
"""

import getpass
import json
import keyword
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment, pass_context
from jinja2.ext import Extension
from jinja2.runtime import Context
from slugify import slugify

from template_origin import origin

HERE = Path(__file__).resolve().parent
PROJECT = next(HERE.glob("*cookiecutter.project_slug*"))
SOURCES, MACHINERY = PROJECT / "src", PROJECT / "packages"
# Universal newlines, as Cookiecutter reads a hook before it renders it.
HOOKS = {path.read_text(encoding="utf-8") for path in (HERE / "hooks").glob("*.py")}

LONGEST = {"project_name": 100, "description": 512, "author": 200, "tracking_uri": 512}
LONGEST_SLUG = 40  # a path has it twice, and Windows allows 260 characters; a line has it, and lint allows 120
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
OVERRIDES = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}

WINDOWS_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
# In the standard library of 3.11 and not of 3.13. The Python that generates may be newer than the Python that trains.
FORMER_STDLIB = {
    "aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr", "imp",
    "lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd", "sunau",
    "telnetlib", "uu", "xdrlib",
}  # fmt: skip
TOOLS = {"nox", "pip", "pkg_resources", "reproducibility", "setuptools", "test", "uv", "wheel"}
# The names that locked packages are imported by, if they are not those of the packages.
IMPORTED_AS = {
    "attr", "databricks", "dateutil", "dotenv", "git", "google", "graphql", "ipykernel_launcher", "jupyter",
    "markdown_it", "mpl_toolkits", "opentelemetry", "pil", "py", "pylab", "sklearn", "slugify", "yaml", "zmq",
}  # fmt: skip
# Not installed. Libraries that are installed try to import these, and would import the project instead.
LOOKED_FOR = {
    "cupy",
    "dask",
    "jax",
    "keras",
    "lightgbm",
    "polars",
    "pyarrow",
    "sparse",
    "tensorflow",
    "torch",
    "xgboost",
}


class Answers(Extension):
    """`<< cookiecutter.x | quoted >>` for TOML, YAML, JSON and Python; `| markdown` for Markdown;
    `| onwards` for a version and the newer ones; the derived names; `template_origin()`."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.context_class = AnswersContext
        environment.filters.update(quoted=quoted, onwards=onwards, markdown=markdown)
        environment.filters.update(hexadecimal=hexadecimal, literally=literally)
        environment.globals["template_origin"] = origin

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Treat only files and hooks of the template as templates; any other text renders to itself.

        Cookiecutter renders answers from the command line too: `<< 7*7 >>` would come out as 49, and worse would run.
        """
        if name is not None or source in HOOKS:
            return source
        text = re.sub(r"[<>{}%#]", lambda found: f"\\x{ord(found[0]):02x}", ascii(source))
        start, end = self.environment.variable_start_string, self.environment.variable_end_string
        return f"{start} {text} | literally {end}"


class AnswersContext(Context):
    """What a template sees: the answers, and `project_slug` and `package_name`, which no answer can set."""

    def __init__(self, environment: Environment, parent: dict[str, Any], *rest: Any, **named: Any) -> None:
        answers = parent["cookiecutter"]
        if generating(answers):
            parent = {**parent, "cookiecutter": {**answers, **derived_names(answers["project_name"])}}
        super().__init__(environment, parent, *rest, **named)


def generating(answers: Mapping[str, Any]) -> bool:
    """Whether all questions are answered: Cookiecutter adds this key between asking and generating."""
    return "_output_dir" in answers


@pass_context
def literally(context: Context, text: str) -> str:
    """Return *text* itself, with two exceptions: an empty author, and the template's paths.

    An empty author becomes whoever asks. A path gets the derived names. The first path is the project's folder: there
    FailedHookException is raised if answers are refused. Cookiecutter's command prints its text, which has one sentence
    for each refused answer, and nothing else.
    """
    answers = context["cookiecutter"]
    if not generating(answers):
        return whoever_asks() if not text and next(q for q in LONGEST if q not in answers) == "author" else text
    if text == PROJECT.name and (refused := refusals(answers)):
        raise FailedHookException("\n".join(refused))
    start, end = context.environment.variable_start_string, context.environment.variable_end_string
    for name in ("project_slug", "package_name"):
        text = text.replace(f"{start}cookiecutter.{name}{end}", answers[name])
    return text


def whoever_asks() -> str:
    """`Name <email>` as git knows them, else the name of the account, else nothing."""
    command = ["git", "-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT"]  # no guesses from the host's name
    try:
        known = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", errors="replace")
    except OSError:
        known = None
    if known and known.returncode == 0:
        return known.stdout[: known.stdout.rindex(">") + 1]
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # the user of a container may have no account
        return ""


def derived_names(project_name: str) -> dict[str, str]:
    slug = slugify(str(project_name))
    return {"project_slug": slug, "package_name": slug.replace("-", "_")}


def quoted(answer: str) -> str:
    """Return a double-quoted string that TOML, YAML, JSON and Python all read as the answer."""
    return json.dumps(answer, ensure_ascii=False)


def onwards(version: str) -> str:
    """The Pythons that the template knows from *version* on, as a list that YAML, JSON and Python read."""
    known = json.loads((HERE / "cookiecutter.json").read_text(encoding="utf-8"))["python_version"]
    return json.dumps(known[known.index(version) :])


def hexadecimal(answer: str) -> str:
    """The answer's UTF-8 as hexadecimal digits: for hooks, where no answer may end the string that carries it."""
    return answer.encode().hex()


def markdown(answer: str) -> str:
    """Markdown that shows the answer: nothing in it is a heading, a link, HTML or a list."""
    text = answer.strip().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_\[\]#|~!$])", r"\\\1", text)
    text = re.sub(r"^([-+=:])", r"\\\1", text)
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", text)


def refusals(answers: Mapping[str, Any]) -> list[str]:
    """One sentence for each answer that cannot be used, naming the question and the rule; empty if all can."""
    own_rules = {"project_name": name_rule, "author": author_rule, "tracking_uri": uri_rule}
    found = []
    for question in LONGEST:
        broken = text_rule(question, answers[question])
        if not broken and question in own_rules:
            broken = own_rules[question](answers[question])
        if broken:
            found.append(f"{question} {broken}.")
    return found


def text_rule(question: str, answer: Any) -> str | None:
    if not isinstance(answer, str):
        return "must be text"
    for position, character in enumerate(answer, start=1):
        if unprintable(character):
            return f"must be one line without control characters, but character {position} is U+{ord(character):04X}"
    if len(answer) > LONGEST[question]:
        return f"must have at most {LONGEST[question]} characters, but has {len(answer)}"
    return None


def unprintable(character: str) -> bool:
    """Whether a file format forbids it, an editor breaks the line at it, or it shows text in another order."""
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or ord(character) & 0xFFFE == 0xFFFE
        or 0xFDD0 <= ord(character) <= 0xFDEF
        or unicodedata.bidirectional(character) in OVERRIDES
    )


def name_rule(project_name: str) -> str | None:
    names = derived_names(project_name)
    slug, package = names["project_slug"], names["package_name"]
    if not slug:
        return "must contain letters or digits, because the folder and the package are named after it"
    if len(slug) > LONGEST_SLUG:
        return f"must give a folder name of at most {LONGEST_SLUG} characters, but gives {len(slug)}"
    if not package.isidentifier():
        return f"must begin with a letter, because Python cannot import a package called {package}"
    for owner, taken in taken_names():
        if package in taken:
            return f"must not be {owner}, but gives the package name {package}"
    return None


def taken_names() -> Iterator[tuple[str, set[str]]]:
    """Names that a package cannot have, each set with its owner."""
    yield "a Python keyword", {name.lower() for name in (*keyword.kwlist, *keyword.softkwlist)}
    yield "the name of a standard-library module", {name.lower() for name in sys.stdlib_module_names} | FORMER_STDLIB
    yield "a name that Windows keeps for devices", WINDOWS_DEVICES
    locks = "\n".join(path.read_text(encoding="utf-8") for path in sorted(PROJECT.glob("requirements*.txt")))
    locked = {
        re.sub(r"[-.]", "_", name).lower() for name in re.findall(r"^([\w.-]+)(?:\[.*\])?==", locks, re.MULTILINE)
    }
    yield "the name of a package that the project uses", locked | TOOLS | IMPORTED_AS | LOOKED_FOR
    # Python finds a script's neighbours and the tests' modules before it finds the package.
    own = [path for path in PROJECT.rglob("*") if path.is_dir() or path.suffix == ".py"]
    theirs = {path.stem for path in own if not {SOURCES, MACHINERY} & {path, *path.parents}}
    yield "the name of a folder or script of the project", theirs | {"packages", "src"}


def author_rule(author: str) -> str | None:
    if not re.fullmatch(r"[^<>]*[^<>\W_][^<>]*( <[^<>@\s]+@[^<>@\s]+>)?", author):
        return "must be written as Name or as Name <email>, with a letter or a digit in the name"
    return None


def uri_rule(tracking_uri: str) -> str | None:
    try:
        uri = urlsplit(tracking_uri)
        uri.port  # noqa: B018 - reading it checks it
    except ValueError:
        return "must be an address such as https://mlflow.example.com"
    kind = uri.scheme.partition("+")[0]
    if kind not in ("http", "https", *DATABASES):
        return f"must begin with http://, https:// or a database ({', '.join(DATABASES)}) such as sqlite:///mlflow.db"
    if kind == "sqlite":
        file_named = tracking_uri.startswith(f"{uri.scheme}:///") and uri.path.strip("/")
        if not file_named:
            return "must name the file, as in sqlite:///mlflow.db"
        # .gitignore has *.db: a database that git sees would be an uncommitted change of every run after the first
        return None if tracking_uri.endswith(".db") else "must name a file that ends in .db, as in sqlite:///mlflow.db"
    if holds_secret(uri):
        home = "MLFLOW_TRACKING_URI" if kind in DATABASES else "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        return f"must not hold a user or a password, because the project's files are shared; set {home} instead"
    if re.search(r"\s", tracking_uri):
        return "must have no spaces"
    if not uri.hostname:
        return f"must name a host after {uri.scheme}://"
    return None


def holds_secret(uri: SplitResult) -> bool:
    query = unquote(uri.query).lower()
    return "@" in uri.netloc or any(word in query for word in ("password", "passwd", "pwd", "token", "secret"))
