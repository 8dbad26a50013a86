"""Every answer comes back unchanged from a project that works, or is refused in a sentence with nothing left behind."""

import ast
import functools
import html
import json
import keyword
import re
import subprocess
import sys
import tomllib
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

import pytest
import yaml
from conftest import Render, RunIn
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import local_extensions

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
    "a path of the template": ("<<cookiecutter.project_slug>>", "project_name description"),
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


@pytest.mark.parametrize(("question", "text", "taken"), CASES)
def test_hostile_answer(question: str, text: str, taken: bool, render: Render, tmp_path: Path) -> None:
    done = render({question: text}, tmp_path)
    assert (done.returncode == 0) is taken, done.stdout + done.stderr
    assert_harmless(done, {question: text}, tmp_path)


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_file_name_in_an_address(what: str, render: Render, tmp_path: Path) -> None:
    text, taken = HOSTILE[what]
    done = render({"tracking_uri": f"sqlite:///{text}.db"}, tmp_path)
    assert (done.returncode == 0) is ("description" in taken), done.stdout + done.stderr
    assert_harmless(done, {"tracking_uri": f"sqlite:///{text}.db"}, tmp_path)


# Pieces that are harmless alone and may not be together.
PIECES = st.sampled_from(
    [
        *[
            '"',
            "'",
            '"""',
            "'''",
            "\\",
            "\n",
            "<<",
            ">>",
            "<%",
            "%>",
            "<#",
            "#>",
            "{{",
            "}}",
            "${",
            "#",
            ": ",
            "- ",
            "&",
            "|",
        ],
        *[
            "\x7f",
            "\x85",
            "\u2028",
            "\ufeff",
            "\ufffe",
            "🐧",
            "ש",
            "../",
            "/",
            "C:\\n",
            PWNED,
            " ",
            "<a@b>",
            "cookiecutter.author",
        ],
    ]
)
# An argument of a command can hold neither a NUL nor half a surrogate pair.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
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


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example({"project_name": PWNED, "description": PWNED, "author": PWNED, "tracking_uri": f"sqlite:///{PWNED}.db"})
@example({"description": "\ufeff\\'''\"\"\"", "author": "\\'''\"\"\" a", "tracking_uri": "https://x/\\'''\"\"\""})
@given(ANSWERS)
def test_any_answers(render: Render, answers: dict[str, str]) -> None:
    with TemporaryDirectory() as folder:
        assert_harmless(render(answers, Path(folder)), answers, Path(folder))


def assert_harmless(done: CompletedProcess[str], answers: Mapping[str, str], folder: Path) -> None:
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
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
    wanted = {question: answer for question, answer in answers.items() if (question, answer) != ("author", "")}
    assert {question: written["tool"]["cookiecutter"][question] for question in wanted} == wanted
    assert written["project"]["description"] == written["tool"]["cookiecutter"]["description"]
    assert written["project"]["authors"][0]["name"] == written["tool"]["cookiecutter"]["author"]
    assert (
        yaml.safe_load((project / "configs/base.yaml").read_text(encoding="utf-8"))["tracking"]["uri"]
        == (written["tool"]["cookiecutter"]["tracking_uri"])
    )

    # From the project's own folder, whose folders and scripts must not come before the package.
    (package,) = (path.name for path in (project / "src").iterdir())
    code = f"import sys; sys.path.append('src'); import {package}; print({package}.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert Path(project, found.stdout.strip()).resolve() == (project / "src" / package / "__init__.py").resolve()


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
        ("Con", "a name that Windows keeps"),
        ("3D shapes", "must begin with a letter"),
        ("🐧", "must contain letters or digits"),
        ("北" * 40, "at most 40 characters"),
    ],
)
def test_name_that_python_cannot_use_is_refused(project_name: str, owner: str, render: Render, tmp_path: Path) -> None:
    done = render({"project_name": project_name}, tmp_path)
    assert done.returncode == 1
    assert owner in done.stdout
    assert_refused(done, {"project_name": project_name}, tmp_path)


def test_every_keyword_and_standard_module_is_taken() -> None:
    for name in [*keyword.kwlist, *keyword.softkwlist, *sys.stdlib_module_names]:
        if not name.startswith("_"):
            assert local_extensions.name_rule(name), name


def test_everything_the_project_imports_is_taken(template: Path) -> None:
    """Another reading than that of the rule, which reads the locks: what the sources import."""
    sources = template / "<<cookiecutter.project_slug>>" / "src"
    imports = [
        re.findall(r"^ *(?:import|from) ([a-z]\w*)", p.read_text(encoding="utf-8"), re.MULTILINE)
        for p in sources.rglob("*.py")
    ]
    for name in {name for names in imports for name in names}:
        assert local_extensions.name_rule(name), name


def test_everything_in_the_environment_is_taken(project: Path, run_in: RunIn) -> None:
    code = "from importlib.metadata import packages_distributions as p; print(*p())"
    own = {path.name for path in (project / "src").iterdir()}
    found = run_in(project, "python", "-c", code, check=True).stdout.lower().split()
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
def test_address_that_cannot_serve_is_refused(tracking_uri: str, rule: str, render: Render, tmp_path: Path) -> None:
    done = render({"tracking_uri": tracking_uri}, tmp_path)
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
def test_address_comes_back(tracking_uri: str, render: Render, tmp_path: Path) -> None:
    done = render({"tracking_uri": tracking_uri}, tmp_path)
    assert done.returncode == 0, done.stdout
    assert_harmless(done, {"tracking_uri": tracking_uri}, tmp_path)


@pytest.mark.parametrize(
    "author", ["<ada@example.com>", "Ada <ada>", "Ada <a@b> <c@d>", "Ada <a@b", "...", "Ada<a@b>", " <a@b>"]
)
def test_author_of_another_shape_is_refused(author: str, render: Render, tmp_path: Path) -> None:
    done = render({"author": author}, tmp_path)
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
        ("description", r'"a\0b"'),
        ("author", r'"a\ud800b"'),
        ("description", "true"),
        ("project_name", "null"),
        ("tracking_uri", "{a: b}"),
    ],
)
def test_what_only_a_settings_file_can_say_is_refused(
    question: str, value: str, render: Render, tmp_path: Path
) -> None:
    settings_file = tmp_path / "settings.yaml"
    settings_file.write_text(f"default_context:\n  {question}: {value}\n", encoding="utf-8")
    done = render({}, tmp_path / "out", "--config-file", str(settings_file))
    assert done.returncode == 1
    assert_refused(done, {question: value}, tmp_path / "out")


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
