"""Every answer comes back unchanged from a project that works, or is refused in a sentence with nothing left behind."""

import ast
import contextlib
import functools
import html
import json
import keyword
import os
import re
import sys
import tomllib
import unicodedata
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
import yaml
from conftest import TEMPLATE, Render, RunIn
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

sys.path.insert(0, str(TEMPLATE))
import local_extensions

PYTHON_PATH = [entry for entry in sys.path if entry and not Path(entry).resolve().is_relative_to(TEMPLATE)]

PWNED = "x\"+str(open('PWNED','w'))+\""

# What was tried, the text, and which questions take it; the others refuse it.
HOSTILE = {
    "double quotes": ('say "hello"', "project_name description author"),
    "single quotes": ("it's '''here'''", "project_name description author"),
    "three double quotes": ('"""', "description"),
    "quotes around text": ('"""a"""', "project_name description author"),
    "backslashes": (r"a\b\\c \u0041 \N{DASH} \x41", "project_name description author"),
    "a trailing backslash": ("ends in \\", "project_name description author"),
    "a Windows path": (r"C:\new\temp", "project_name description author"),
    "a newline": ("one\ntwo", ""),
    "a carriage return": ("one\rtwo", ""),
    "a tab": ("one\ttwo", ""),
    "a bell": ("one\atwo", ""),
    "delete": ("one\x7ftwo", ""),
    "the next-line character": ("one\u0085two", ""),
    "a line separator": ("one\u2028two", ""),
    "a paragraph separator": ("one\u2029two", ""),
    "a noncharacter": ("one\ufffftwo", ""),
    "a noncharacter beyond the first plane": ("one\U0001fffetwo", ""),
    "a byte order mark": ("\ufeffone\ufefftwo", "project_name description author"),
    "an override of the direction": ("one\u202etwo", ""),
    "right-to-left text": ("שלום עולם", "project_name description author"),
    "accents": ("Žluťoučký kůň", "project_name description author"),
    "Chinese": ("企鹅分类", "project_name description author"),
    "emoji": ("🐧", "description"),
    "emoji and text": ("Ada 🐧 👩‍🔬", "project_name description author"),
    "YAML": ("a: #b", "project_name description author"),
    "a YAML anchor": ("&a [*a, !!python/object/apply:os.system ['touch PWNED']]", "description author"),
    "a TOML table": ("[tool.x]", "project_name description author"),
    "dollars": ("$HOME ${HOME} $(touch PWNED) `touch PWNED` %PATH%", "project_name description author"),
    "other templates": ("{{ 7*7 }} {% raw %} ${{ x }}", "description author"),
    "an expression": ("<< 7*7 >>", "description"),
    "a statement": ("<% x", "project_name description"),
    "an empty statement": ("<% %>", "description"),
    "a comment": ("<# x #>", "project_name description"),
    "an attribute": ("<< ''.__class__.__mro__ >>", "project_name description"),
    "a call": ("<< cycler.__init__.__globals__.os.system('touch PWNED') >>", "description"),
    "another answer": ("<< cookiecutter.project_name >>", "project_name description"),
    # In two pieces, of which the standard edition changes none.
    "a path of the template": ("<<" + "cookiecutter.project_slug>>", "project_name description"),
    "Python": (PWNED, "project_name description author"),
    "Python after triple quotes": ("'''+str(open('PWNED','w'))+'''", "project_name description author"),
    "HTML": ("a <script>alert(1)</script> & b", "project_name description"),
    "a Markdown link": ("[a](http://x) ![b](y) | # *c* _d_ `e`", "project_name description author"),
    "a leading dash": ("-rf", "project_name description author"),
    "a leading option": ("--version", "project_name description author"),
    "an upper folder": ("../evil", "project_name description author"),
    "an absolute path": ("/etc/passwd", "project_name description author"),
    "spaces around": ("  a b  ", "project_name description author"),
    "a space": (" ", "description"),
    "an equals sign": ("a=b", "project_name description author"),
    "300 characters": ("a" * 300, "description"),
    "1000 characters": ("a" * 1000, ""),
    "digits": ("42", "description author"),
    "empty": ("", "description author"),  # an empty author is whoever asks
}
CASES = [
    pytest.param(question, text, question in taken.split(), id=f"{what}, {question}")
    for what, (text, taken) in HOSTILE.items()
    for question in ("project_name", "description", "author")
]


# What was tried, and for which question, that the command itself is given too: each kind of answer and of attack once.
THROUGH_THE_COMMAND = [
    ("a newline", "project_name"),
    ("an equals sign", "project_name"),
    ("an attribute", "project_name"),
    ("Python", "project_name"),
    ("a call", "description"),
    ("an expression", "description"),
    ("YAML", "description"),
    ("three double quotes", "description"),
    ("dollars", "author"),
    ("a leading option", "author"),
    ("Python after triple quotes", "author"),
    ("emoji and text", "author"),
]


@pytest.fixture(scope="module")
def generate(clean_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Render:
    """`generate(answers, into, defaults={})`: as `render`, in this process and without the hook. A tenth of the cost.

    `defaults` are the answers of the user's settings file. Any other exception than a refusal is raised.
    """
    settings_of_cookiecutter = tmp_path_factory.mktemp("cookiecutter")

    def generated(
        answers: Mapping[str, str], into: Path, defaults: Mapping[str, object] | None = None
    ) -> CompletedProcess[str]:
        folders = {name: str(settings_of_cookiecutter / name) for name in ("cookiecutters_dir", "replay_dir")}
        settings_file = settings_of_cookiecutter / "settings.yaml"
        settings_file.write_text(yaml.safe_dump(folders | {"default_context": defaults or {}}), encoding="utf-8")
        into.mkdir(parents=True, exist_ok=True)
        with contextlib.chdir(into), patch.dict(os.environ, clean_env, clear=True):
            try:
                cookiecutter(
                    str(TEMPLATE),
                    no_input=True,
                    extra_context=dict(answers),
                    output_dir=str(into),
                    config_file=str(settings_file),
                    accept_hooks=False,
                )
            except FailedHookException as refusal:  # the command prints it and ends with status 1
                return CompletedProcess([], 1, f"{refusal}\n", "")
        return CompletedProcess([], 0, "", "")

    return generated


@pytest.mark.parametrize(("question", "text", "taken"), CASES)
def test_hostile_answer(question: str, text: str, taken: bool, generate: Render, tmp_path: Path) -> None:
    done = generate({question: text}, tmp_path)
    assert (done.returncode == 0) is taken, done.stdout + done.stderr
    assert_harmless(done, {question: text}, tmp_path)


@pytest.mark.parametrize(("what", "question"), THROUGH_THE_COMMAND)
def test_hostile_answer_through_the_command(what: str, question: str, render: Render, tmp_path: Path) -> None:
    text, taken = HOSTILE[what]
    done = render({question: text}, tmp_path)
    assert (done.returncode == 0) is (question in taken), done.stdout + done.stderr
    assert_harmless(done, {question: text}, tmp_path)


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_file_name_in_an_address(what: str, generate: Render, tmp_path: Path) -> None:
    text, taken = HOSTILE[what]
    done = generate({"tracking_uri": f"sqlite:///{text}.db"}, tmp_path)
    assert (done.returncode == 0) is ("description" in taken), done.stdout + done.stderr
    assert_harmless(done, {"tracking_uri": f"sqlite:///{text}.db"}, tmp_path)


# Pieces that are harmless alone and may not be together.
QUOTES = ['"', "'", '"""', "'''", "\\"]
MARKUP = ["<<", ">>", "<%", "%>", "<#", "#>", "{{", "}}", "${", "#", ": ", "- ", "&", "|", "cookiecutter.author"]
ODD_CHARACTERS = ["\n", "\x7f", "\x85", "\u2028", "\ufeff", "\ufffe", "🐧", "ש"]
PIECES = st.sampled_from([*QUOTES, *MARKUP, *ODD_CHARACTERS, "../", "/", "C:\\n", PWNED, " ", "<a@b>"])
CHARACTERS = st.characters()
TEXTS = st.lists(PIECES | st.text(CHARACTERS, max_size=8), max_size=6).map("".join)
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "project_name": TEXTS | TEXTS.map(lambda text: f"a{text}"),
        "description": TEXTS,
        "author": TEXTS | TEXTS.map(lambda text: f"Ada {text}"),
        "tracking_uri": TEXTS
        | TEXTS.map(lambda text: f"sqlite:///{text}.db")
        | st.tuples(st.sampled_from(["http://", "https://x/"]), TEXTS).map("".join),
    },
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example({"project_name": PWNED, "description": PWNED, "author": PWNED, "tracking_uri": f"sqlite:///{PWNED}.db"})
@example({"description": "\ufeff\\'''\"\"\"", "author": "\\'''\"\"\" a", "tracking_uri": "https://x/\\'''\"\"\""})
@given(ANSWERS)
def test_any_answers(generate: Render, answers: dict[str, str]) -> None:
    with TemporaryDirectory() as folder:
        assert_harmless(generate(answers, Path(folder)), answers, Path(folder))


def assert_harmless(done: CompletedProcess[str], answers: Mapping[str, str], folder: Path) -> None:
    printed = done.stdout + done.stderr
    assert "Traceback" not in printed, printed
    assert not [path for path in folder.rglob("*") if "PWNED" in path.name], "an answer was run"
    if done.returncode == 0:
        (project,) = folder.iterdir()
        assert_works(project, answers)
    else:
        assert_refused(done, answers, folder)


def assert_refused(done: CompletedProcess[str], answers: Mapping[str, str], folder: Path) -> None:
    assert done.stderr == ""
    assert done.stdout, "refused without a word"
    for line in done.stdout.splitlines():
        question, must, _ = line.split(" ", maxsplit=2)
        assert question in answers, line
        assert must == "must", line
        assert re.fullmatch(r"[ -~]+\.", line), line
    assert list(folder.iterdir()) == []


@functools.cache  # most files are the same whatever the answers are
def parse(suffix: str, content: bytes) -> None:
    parsers = {".toml": tomllib.loads, ".json": json.loads, ".py": ast.parse}
    parsers |= dict.fromkeys([".yaml", ".yml"], lambda text: list(yaml.safe_load_all(text)))
    if suffix in parsers:
        parsers[suffix](content.decode("utf-8"))


def assert_works(project: Path, answers: Mapping[str, str]) -> None:
    files = [path for path in project.rglob("*") if path.is_file() and ".git" not in path.relative_to(project).parts]
    for path in files:
        parse(path.suffix, path.read_bytes())

    written = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    noted = written["tool"]["cookiecutter"]
    wanted = {question: answer for question, answer in answers.items() if (question, answer) != ("author", "")}
    assert {question: noted[question] for question in wanted} == wanted
    assert written["project"]["description"] == noted["description"]
    assert written["project"]["authors"][0]["name"] == noted["author"]
    base = yaml.safe_load((project / "configs/base.yaml").read_text(encoding="utf-8"))
    assert base["tracking"]["uri"] == noted["tracking_uri"]

    # From the project's own folder, whose folders and scripts must not come before the package.
    (package,) = (path.name for path in (project / "src").iterdir())
    assert package not in sys.builtin_module_names
    found = PathFinder.find_spec(package, [str(project), *PYTHON_PATH, str(project / "src")])
    assert found is not None and Path(found.origin) == project / "src" / package / "__init__.py"


@pytest.mark.parametrize(
    ("project_name", "owner"),
    [
        ("class", "a Python keyword"),
        ("True", "a Python keyword"),
        ("match", "a Python keyword"),
        ("random", "a standard-library module"),
        ("Random!", "a standard-library module"),
        ("distutils", "a standard-library module"),
        ("test", "a package that the project uses"),
        ("pip", "a package that the project uses"),
        ("mlflow", "a package that the project uses"),
        ("Scikit Learn", "a package that the project uses"),
        ("sklearn", "a package that the project uses"),
        ("yaml", "a package that the project uses"),
        ("pandas", "a package that the project uses"),
        ("src", "a folder or script of the project"),
        ("tests", "a folder or script of the project"),
        ("scripts", "a folder or script of the project"),
        ("train", "a folder or script of the project"),
        ("Packages", "a folder or script of the project"),
        ("Reproducibility", "a package that the project uses"),
        ("Con", "a name that Windows keeps"),
        ("3D shapes", "must begin with a letter"),
        ("🐧", "must contain letters or digits"),
        ("北" * 40, "at most 40 characters"),
    ],
)
def test_name_that_python_cannot_use_is_refused(
    project_name: str, owner: str, generate: Render, tmp_path: Path
) -> None:
    done = generate({"project_name": project_name}, tmp_path)
    assert done.returncode == 1
    assert owner in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert_refused(done, {"project_name": project_name}, tmp_path)


@pytest.mark.parametrize("project_name", ["Seed", "Config", "Gate", "Container", "Reproduce"])
def test_name_of_a_folder_inside_the_machinery_is_free(project_name: str, generate: Render, tmp_path: Path) -> None:
    done = generate({"project_name": project_name}, tmp_path)
    assert done.returncode == 0, done.stdout
    assert_works(tmp_path / project_name.lower(), {"project_name": project_name})


def test_every_keyword_and_standard_module_is_taken() -> None:
    for name in [*keyword.kwlist, *keyword.softkwlist, *sys.stdlib_module_names]:
        if not name.startswith("_"):
            assert local_extensions.name_rule(name), name


def test_everything_the_project_imports_is_taken(template: Path) -> None:
    """Another reading than that of the rule, which reads the locks: what the sources import."""
    project = template / "<<cookiecutter.project_slug>>"
    sources = [path for folder in ("src", "packages") for path in (project / folder).rglob("*.py")]
    imported = set()
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.partition(".")[0])
    imported.discard("__future__")
    assert {"mlflow", "numpy", "reproducibility"} <= imported
    assert {name for name in imported if not local_extensions.name_rule(name)} == set()


def test_everything_in_the_environment_is_taken(project: Path, run_in: RunIn) -> None:
    code = "from importlib.metadata import packages_distributions as p; print(*p())"
    own = {path.name for path in (project / "src").iterdir()}
    found = run_in(project, "python", "-c", code, check=True, fresh=True).stdout.lower().split()
    importable = {name for name in found if name.isidentifier() and not name.startswith("_")} - own
    assert "sklearn" in importable
    assert {name for name in importable if not local_extensions.name_rule(name)} == set()


@pytest.mark.parametrize(
    ("tracking_uri", "rule"),
    [
        ("http://", "must name a host"),
        ("http://[", "must be an address"),
        ("http://x:port", "must be an address"),
        ("http://a b/", "must have no spaces"),
        (" http://example.com", "must have no spaces"),
        ("mlruns", "must begin with"),
        ("file:///tmp/mlruns", "must begin with"),
        ("javascript:alert(1)", "must begin with"),
        ("sqlite://", "must name the file"),
        ("sqlite:///", "must name the file"),
        ("sqlite:mlflow.db", "must name the file"),
        ("sqlite:///runs.sqlite", "must name a file that ends in .db"),
        ("https://ada:secret@example.com", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        ("https://ada@example.com", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        ("postgresql+psycopg://ada:secret@db/mlflow", "MLFLOW_TRACKING_URI"),
        ("postgresql://db/mlflow?user=ada&pass%77ord=secret", "MLFLOW_TRACKING_URI"),
    ],
)
def test_address_that_cannot_serve_is_refused(tracking_uri: str, rule: str, generate: Render, tmp_path: Path) -> None:
    done = generate({"tracking_uri": tracking_uri}, tmp_path)
    assert done.returncode == 1
    assert rule in done.stdout
    assert "secret" not in done.stdout
    assert_refused(done, {"tracking_uri": tracking_uri}, tmp_path)


@pytest.mark.parametrize(
    "tracking_uri",
    [
        "http://localhost:5000",
        "https://mlflow.example.com/team/",
        "http://[::1]:5000",
        "postgresql+psycopg://db.example.com:5432/mlflow",
        "mssql+pyodbc://db/mlflow?driver=ODBC+Driver+18",
        "sqlite:////srv/runs/mlflow.db",
        r"sqlite:///C:\new\temp\mlflow.db",
        'sqlite:///it\'s "ours" #1.db',
    ],
)
def test_address_comes_back(tracking_uri: str, generate: Render, tmp_path: Path) -> None:
    done = generate({"tracking_uri": tracking_uri}, tmp_path)
    assert done.returncode == 0, done.stdout
    assert_harmless(done, {"tracking_uri": tracking_uri}, tmp_path)


@pytest.mark.parametrize(
    "author", ["<ada@example.com>", "Ada <ada>", "Ada <a@b> <c@d>", "Ada <a@b", "...", "Ada<a@b>", " <a@b>"]
)
def test_author_of_another_shape_is_refused(author: str, generate: Render, tmp_path: Path) -> None:
    done = generate({"author": author}, tmp_path)
    assert done.returncode == 1
    assert "must be written as Name or as Name <email>" in done.stdout
    assert_refused(done, {"author": author}, tmp_path)


def test_all_bad_answers_are_named_at_once(render: Render, tmp_path: Path) -> None:
    answers = {"project_name": "class", "description": "a\nb", "author": "<", "tracking_uri": "x"}
    done = render(answers, tmp_path)
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(answers)
    assert_refused(done, answers, tmp_path)


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("description", "a\0b"),
        ("author", "a\ud800b"),
        ("description", True),
        ("project_name", None),
        ("tracking_uri", {"a": "b"}),
    ],
)
def test_what_only_a_settings_file_can_say_is_refused(
    question: str, value: object, generate: Render, tmp_path: Path
) -> None:
    done = generate({}, tmp_path, defaults={question: value})
    assert done.returncode == 1
    assert_refused(done, {question: str(value)}, tmp_path)


def test_the_command_refuses_what_a_settings_file_says(render: Render, tmp_path: Path) -> None:
    settings_file = tmp_path / "settings.yaml"
    settings_file.write_text('default_context:\n  description: "a\\0b"\n', encoding="utf-8")
    done = render({}, tmp_path / "out", "--config-file", str(settings_file))
    assert done.returncode == 1
    assert_refused(done, {"description": "a\0b"}, tmp_path / "out")


def accepted_characters() -> list[str]:
    planes = [
        chr(plane + offset) for plane in range(0x10000, 0x110000, 0x10000) for offset in (0, 0x1F427 % 0x10000, 0xFFFD)
    ]
    return [c for c in [*map(chr, range(0x10000)), *planes] if not local_extensions.unprintable(c)]


def test_quoted_text_reads_the_same_in_every_language() -> None:
    text = "".join(accepted_characters())
    assert len(text) > 60_000
    quoted = local_extensions.quoted(text)
    assert tomllib.loads(f"x = {quoted}")["x"] == text
    assert yaml.safe_load(f"x: {quoted}")["x"] == text
    assert json.loads(quoted) == text
    assert ast.literal_eval(quoted) == text


def test_characters_that_split_or_disguise_a_line_are_refused() -> None:
    for character in accepted_characters():
        assert len(f"a{character}b".splitlines()) == 1, ascii(character)
        assert unicodedata.category(character) != "Cc", ascii(character)


@given(st.text(CHARACTERS.filter(lambda c: not local_extensions.unprintable(c))) | TEXTS)
@example("# a")
@example("- a")
@example("1. a")
@example("+ a")
@example("===")
@example("~~~")
@example("    a")
@example("a | b")
@example("<b>&amp;</b>")
@example("https://x.org <https://x.org> a#")
def test_markdown_shows_the_answer(answer: str) -> None:
    answer = "".join(c for c in answer if not local_extensions.unprintable(c))
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    escaped = local_extensions.markdown(answer)
    for before, start, end in (("", "<p>", "</p>"), ("# ", "<h1>", "</h1>"), ("Above\n", "<p>Above\n", "</p>")):
        shown = markdown.render(before + escaped).strip("\n")
        wanted = answer.strip()
        if wanted:
            assert shown.startswith(start), shown
            assert shown.endswith(end), shown
            assert html.unescape(shown[len(start) : -len(end)]) == wanted
